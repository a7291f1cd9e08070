"""Four ways to keep a network from being steep: norms against dense matrices, fixpoints, and slopes in closed form."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.rows import RowGenerator
from struthio.train.contractive import Contractive
from struthio.train.gradient_penalty import GradientPenalty
from struthio.train.layers import watched
from struthio.train.parseval import Parseval, retracted
from struthio.train.recipe import Moment
from struthio.train.spectral import Spectral, exact_norm, power_norm


def dense(layer, shape):
    """The matrix of a layer without its bias, by what it makes of every unit input."""
    units = torch.eye(shape[1:].numel(), dtype=torch.float64).reshape(-1, *shape[1:])
    return (layer(units) - layer(torch.zeros_like(units))).flatten(1)


def moment(n=6, step=0, kept=None):
    return Moment(RowGenerator.seeded(0, torch.arange(n)), 0.0, step, {} if kept is None else kept)


def wrapping(side=8):
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular").double(), torch.Size((1, 3, side, side))


def test_the_fourier_norm_is_the_largest_singular_value_of_the_dense_matrix():
    layer, shape = wrapping()
    same = nn.Conv2d(3, 4, 3).double()
    same.weight = layer.weight
    smaller = torch.Size((1, 3, 6, 6))  # of which the whole convolution has 8 x 8 places: that circle
    assert torch.isclose(exact_norm(same, smaller), torch.linalg.matrix_norm(dense(layer, shape), 2), rtol=1e-9)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(7, 5), (1, 7)),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), (1, 3, 6, 6)),
        (nn.Conv2d(4, 4, 3, groups=2, bias=False), (1, 4, 6, 6)),
        (nn.Conv1d(2, 3, 3), (1, 2, 9)),
        (nn.ConvTranspose2d(2, 3, 2, stride=2), (1, 2, 3, 3)),
    ],
)
def test_power_iteration_finds_the_norm_of_the_layer_as_it_works_and_its_gradient(layer, shape):
    torch.manual_seed(1)
    layer = layer.double()
    for value in layer.parameters():
        nn.init.normal_(value)
    sigma, _ = power_norm(layer, torch.randn(shape, dtype=torch.float64), 400)
    wanted = torch.linalg.matrix_norm(dense(layer, torch.Size(shape)), 2)
    assert torch.isclose(sigma, wanted, rtol=1e-5)
    if layer.weight.ndim < 4 or layer.stride != (2, 2):  # where the largest singular value comes once
        found, exact = (torch.autograd.grad(value, layer.weight)[0] for value in (sigma, wanted))
        assert torch.allclose(found, exact, atol=1e-2)


def test_the_reshaped_kernel_would_be_another_number():
    layer, shape = wrapping()
    reshaped = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
    assert (power_norm(layer, torch.randn(shape, dtype=torch.float64), 50)[0].item() / reshaped.item()) > 1.3


@pytest.mark.parametrize("norms", ["power", "exact"])
def test_the_penalty_counts_only_what_is_beyond_the_bound(norms):
    x, y = torch.rand(6, 4), torch.arange(6) % 3
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 3, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor([3.0, 1.0, 0.5, 0.1])))
        model[1].weight.copy_(0.5 * torch.eye(4)[:3])
    found = Spectral(weight=0.2, most=2.0, norms=norms)(model, x, y, moment())
    assert torch.isclose(found, F.cross_entropy(model(x), y) + 0.2 * (3.0 - 2.0) ** 2, rtol=1e-5)


def test_power_iteration_goes_on_from_step_to_step():
    torch.manual_seed(2)
    model, kept = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)), {}
    x, y = torch.rand(6, 3, 8, 8), torch.arange(6) % 5
    exact = [torch.linalg.matrix_norm(dense(layer.double(), size), 2) for layer, size in
             ((model[0], torch.Size((1, 3, 8, 8))), (model[3], torch.Size((1, 288))))]  # fmt: skip
    model.float()
    wanted = sum((sigma - 0.1).square() for sigma in exact)
    recipe, plain = Spectral(weight=1.0, most=0.1), F.cross_entropy(model(x), y)
    off = [(recipe(model, x, y, moment(step=step, kept=kept)) - plain - wanted).abs().item() for step in range(60)]
    assert off[-1] < 1e-3 * wanted.item()
    assert off[-1] <= off[0]
    assert set(kept) == {"spectral.0", "spectral.3"}


@pytest.mark.parametrize("groups", [1, 2])
def test_weights_with_orthogonal_rows_are_a_fixpoint_of_the_retraction(groups):
    torch.manual_seed(3)
    rows = torch.stack([torch.linalg.qr(torch.randn(36, 4, dtype=torch.float64))[0].T for _ in range(groups)])
    kernel = rows.reshape(groups, 4, 4, 3, 3) / 3
    assert torch.allclose(retracted(kernel, 0.3), kernel, atol=1e-6)
    layer = nn.Conv2d(4 * groups, 4 * groups, 3, padding=1, groups=groups).double()
    layer.weight.data = kernel.flatten(0, 1).clone()
    Parseval(beta=0.3).after_step(layer, moment())
    assert torch.allclose(layer.weight, kernel.flatten(0, 1), atol=1e-6)
    # such a convolution never stretches its input
    assert torch.linalg.matrix_norm(dense(layer, torch.Size((1, 4 * groups, 6, 6))), 2).item() <= 1 + 1e-9


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)])
def test_every_singular_value_goes_to_one(shape):
    torch.manual_seed(4)
    layer = nn.Linear(*reversed(shape)).double()
    for _ in range(100):
        Parseval(beta=0.1).after_step(layer, moment())
    assert torch.allclose(torch.linalg.svdvals(layer.weight), torch.ones(5, dtype=torch.float64), atol=1e-6)


def test_only_the_drawn_rows_move_and_all_processes_draw_the_same():
    torch.manual_seed(5)
    before = torch.randn(10, 20)
    seen = []
    for ids in (0, 99):
        layer = nn.Linear(20, 10)
        layer.weight.data = before.clone()
        Parseval(beta=0.1, share=0.3).after_step(layer, Moment(RowGenerator.seeded(ids, torch.arange(3)), 0.0, 7))
        seen.append(layer.weight.detach().clone())
    assert int((seen[0] != before).any(1).sum()) == 3
    assert seen[0].equal(seen[1])


def test_a_free_last_layer_stays_and_all_others_move():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    before = [model[at].weight.clone() for at in (0, 2)]
    Parseval(beta=0.1, last=False).after_step(model, moment())
    assert not model[0].weight.equal(before[0])
    assert model[2].weight.equal(before[1])


def test_the_gradient_penalty_of_a_linear_model_in_closed_form():
    torch.manual_seed(6)
    x, y, model = torch.rand(6, 5), torch.arange(6) % 3, nn.Linear(5, 3)
    slopes = (model(x).softmax(1) - F.one_hot(y, 3)) @ model.weight  # d CE / dx
    wanted = F.cross_entropy(model(x), y) + 0.7 * slopes.square().sum(1).mean()
    assert torch.isclose(GradientPenalty(0.7)(model, x, y), wanted)


def test_the_contractive_penalty_of_linear_layers_is_the_sum_of_their_frobenius_norms():
    torch.manual_seed(7)
    x, y = torch.rand(100, 5), torch.arange(100) % 3
    model = nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 3))
    wanted = F.cross_entropy(model(x), y) + 0.3 * sum(layer.weight.norm() for layer in model)
    found = Contractive(0.3, samples=80)(model, x, y, moment(100))
    assert torch.isclose(found, wanted, rtol=0.01)


def test_the_contractive_penalty_counts_the_activation_after_each_layer():
    x, y = torch.full((4, 2), 0.5), torch.zeros(4, dtype=torch.int64)
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 0.0], [0.0, -4.0]]))  # the second unit sleeps
        model[2].weight.copy_(torch.eye(2))
    found = Contractive(1.0)(model, x, y, moment(4)) - F.cross_entropy(model(x), y)
    assert torch.isclose(found, torch.tensor(3.0 + 2**0.5))


def test_watching_leaves_no_hook_and_counts_the_first_call():
    layer = nn.Linear(2, 2)
    with watched(nn.Sequential(layer, layer)) as seen:
        nn.Sequential(layer, layer)(torch.ones(1, 2))
    assert seen["0"].equal(torch.ones(1, 2))
    assert not layer._forward_pre_hooks


def test_mistakes_are_explained():
    for wrong, said in (
        (lambda: Spectral(most=0.0), "most is 0"),
        (lambda: Spectral(norms="fast"), "'power', 'exact'"),
        (lambda: Parseval(beta=0.7), "converge"),
        (lambda: Parseval(share=0.0), "share is 0"),
        (lambda: Contractive(samples=0), "samples is 0"),
        (lambda: GradientPenalty(-1.0), "weight is -1"),
    ):
        with pytest.raises(st.UserError, match=said):
            wrong()
