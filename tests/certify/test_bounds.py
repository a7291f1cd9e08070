"""Bounds hold on every point that sampling and gradients reach, and are exact where a closed form is known."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.certify import bounds, certificate, certify, patches
from struthio.certify.linear import bounded
from struthio.certify.network import NotBounded
from struthio.certify.region import region_of
from struthio.certify.trace import trace
from struthio.models import Logits


class Residual(nn.Module):
    """Two branches that meet, one of them option A: strided, padded with zero channels."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(2, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x):
        inner = self.conv2(F.relu(self.norm(self.conv1(x)), inplace=True))
        return F.relu(inner + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)))


class Joined(nn.Module):
    """Two views of a picture side by side, and a product with a constant matrix."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(2, 16, 5))

    def forward(self, x):
        both = torch.cat([x.mean(1).flatten(1), 1 - x.amax(1).flatten(1) / 2], 1)
        return torch.sigmoid(both[:, :16] @ self.matrix[0] - both[:, -16:] @ self.matrix[1])


class Gated(nn.Module):
    """Channels weighed by what their means say, and a swish by hand: products of two activations, one of them broad."""

    def __init__(self):
        super().__init__()
        self.weigh = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        weighed = x * self.weigh(x.mean((2, 3), keepdim=True)).sigmoid()
        return weighed * weighed.sigmoid()


def picture_networks():
    return {
        "relu": nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 4)),
        "batch norm, max pooling": nn.Sequential(
            nn.Conv2d(2, 4, 2), nn.BatchNorm2d(4), nn.LeakyReLU(0.1), nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            nn.Flatten(), nn.Dropout(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 4),
        ),
        "groups, average pooling": nn.Sequential(
            nn.Conv2d(2, 4, 3, 1, 2, dilation=2, groups=2), nn.ReLU6(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 1),
            nn.Hardtanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
            nn.Sigmoid(), nn.Linear(5, 4), nn.LogSoftmax(1),
        ),
        "residual": nn.Sequential(Residual(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 4)),
        "joined": nn.Sequential(nn.Conv2d(2, 3, 3, 1, 1), nn.ReLU(), Joined(), nn.Linear(5, 4)),
        "gated": nn.Sequential(nn.Conv2d(2, 4, 2), nn.SiLU(), Gated(), nn.GELU(), nn.Flatten(), nn.Linear(36, 4)),
    }  # fmt: skip


def made(name, seed):
    """A network with weights large enough to bend everywhere, and statistics that are not those of the start."""
    torch.manual_seed(seed)
    model = picture_networks()[name]
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.weight.data.normal_()
    for parameter in model.parameters():
        parameter.data.mul_(2)
    return model.eval()


def extremes(model, x, threat, tries=40, steps=15):
    """The least and greatest of each output over random points and signed steps from them, all inside the threat."""
    seen, classes = [], model(x).shape[1]
    for turn in range(2 * classes):
        z = threat.sample(x, st.RowGenerator.seeded(turn, torch.arange(len(x))))
        for _ in range(steps):
            z = z.detach().requires_grad_()
            outputs = model(threat.apply(x, z))
            seen.append(outputs.detach())
            (grad,) = torch.autograd.grad((-1) ** (turn % 2) * outputs[:, turn // 2].sum(), z)
            z = threat.project(x, z.detach() + 0.3 * threat.eps * threat.steepest(x, z.detach(), grad))
    for turn in range(tries):
        z = threat.sample(x, st.RowGenerator.seeded(99 + turn, torch.arange(len(x))))
        seen.append(model(threat.apply(x, threat.project(x, 3 * z))).detach())
    return torch.stack(seen).amin(0), torch.stack(seen).amax(0)


KINDS = {"linf": st.Linf(0.1), "l2": st.L2(0.4), "l1": st.L1(0.8)}


@pytest.mark.parametrize(
    ("name", "norm"), [*zip(picture_networks(), ("linf", "l2", "linf", "l2", "l1", "linf"), strict=True)]
)
def test_no_point_leaves_the_bounds(name, norm):
    model, threat = made(name, 0), KINDS[norm]
    x = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    logits = model[:-1] if isinstance(model[-1], nn.LogSoftmax) else model
    least, greatest = extremes(logits, x, threat)
    widths = []
    for method in ("interval", "crown-interval", "crown"):
        low, high = bounds(model, x, threat, method)
        assert bool((low <= least + 1e-5).all()), (method, float((least - low).min()))
        assert bool((high >= greatest - 1e-5).all()), (method, float((high - greatest).min()))
        widths.append(float((high - low).sum()))
    assert widths[2] <= widths[1] + 1e-9
    assert widths[1] <= widths[0] + 1e-9


def random_network(seed):
    """Two to four layers of random widths with one of the known bends between them."""
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    kinds = (nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardtanh, nn.Sigmoid, nn.Tanh)
    layers, width = [], 3
    for _ in range(int(torch.randint(1, 4, (), generator=draw))):
        wide = int(torch.randint(2, 9, (), generator=draw))
        layers += [nn.Linear(width, wide), kinds[int(torch.randint(len(kinds), (), generator=draw))]()]
        layers[-2].weight.data *= 3
        width = wide
    return nn.Sequential(*layers, nn.Linear(width, 2)).eval()


def test_no_point_of_a_fine_grid_leaves_the_bounds_of_many_small_networks():
    steps = torch.linspace(0, 1, 21)
    grid = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    for seed in range(9):
        model = random_network(seed)
        x = torch.rand(1, 3, generator=torch.Generator().manual_seed(seed))
        threat = (st.Linf(0.2), st.L2(0.3), st.L1(0.4))[seed % 3]
        inside = grid[threat.allows(x.expand_as(grid), grid)]
        near = threat.apply(x, threat.project(x, (inside - x) * 1.5))
        with torch.no_grad():
            outputs = torch.cat([model(inside), model(near)])
        widths = []
        for method in ("interval", "crown-interval", "crown"):
            low, high = bounds(model, x, threat, method)
            assert bool((outputs >= low - 1e-5).all()), (seed, method)
            assert bool((outputs <= high + 1e-5).all()), (seed, method)
            widths.append(float((high - low).sum()))
        assert widths[2] <= widths[0] + 1e-9


def test_optimised_slopes_are_sound_and_tighter():
    torch.manual_seed(4)
    threat = st.Linf(0.15)
    model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16), nn.LeakyReLU(), nn.Linear(16, 2))
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    for parameter in model.parameters():
        parameter.data *= 2
    least, greatest = extremes(model, x, threat)
    plain, tuned = bounds(model, x, threat, "crown"), bounds(model, x, threat, "alpha")
    assert bool((tuned[0] <= least + 1e-5).all())
    assert bool((tuned[1] >= greatest - 1e-5).all())
    assert bool((tuned[0] >= plain[0] - 1e-9).all())
    assert float((tuned[1] - tuned[0]).sum()) < 0.97 * float((plain[1] - plain[0]).sum())


def test_a_certified_row_is_never_beaten_by_its_margin():
    model, threat = made("residual", 7), st.Linf(0.02)
    x = torch.rand(4, 2, 4, 4, generator=torch.Generator().manual_seed(7))
    labels = model(x).argmax(1)
    worst = torch.full((4,), torch.inf)
    for other in range(4):
        attacked = st.PGD(steps=10, loss=st.Margin())(model, x, st.Untargeted(labels), threat, other).x_adv
        gaps = model(attacked).gather(1, labels[:, None]) - model(attacked)
        worst = torch.minimum(worst, gaps.scatter(1, labels[:, None], torch.inf).amin(1).detach())
    for method in ("interval", "lipschitz", "crown", "auto"):
        found = certify(model, x, labels, threat, method)
        assert bool((found.lower <= worst + 1e-5).all())
        assert bool((~found.certified | (worst > 0)).all())


@pytest.mark.parametrize(("kind", "dual"), [(st.Linf, 1), (st.L2, 2), (st.L1, torch.inf)])
def test_a_linear_model_is_bounded_exactly(kind, dual):
    threat = kind(0.3, None)
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Linear(3, 4)), torch.rand(5, 1, 2, 3)
    weight = (model[2].weight @ model[1].weight).double()
    spread = torch.linalg.vector_norm(weight, ord=dual, dim=1) * (threat.eps * (1 + 1e-4) + 1e-6)
    low, high = bounds(model, x, threat)
    exact = model.double()(x.double()).detach()
    assert torch.allclose(low, exact - spread, atol=1e-6)
    assert torch.allclose(high, exact + spread, atol=1e-6)


def test_intervals_take_each_margin_as_one():
    """Both logits rise with x, so that x alone decides nothing: the margin is 0.5 wherever it lies."""
    model = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        for part in (model[0], model[2], model[3]):
            part.weight.fill_(1.0)
            part.bias.zero_()
        model[3].bias[0] = 0.5
    x, y = torch.full((2, 1), 0.5), torch.tensor([0, 1])
    found = st.certify(model, x, y, st.Linf(0.3), "interval")
    torch.testing.assert_close(found.lower, torch.tensor([0.5, -0.5], dtype=torch.float64))
    assert found.certified.tolist() == [True, False]
    few = st.certify(model, x, y, st.Linf(0.3), "interval", values=1)  # one question at a time
    assert torch.equal(few.lower, found.lower)


def test_intervals_by_hand():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    model[0].weight.data, model[0].bias.data = torch.tensor([[1.0, -1.0], [2.0, 0.0]]), torch.tensor([0.0, -1.0])
    model[2].weight.data, model[2].bias.data = torch.tensor([[1.0, -1.0], [-3.0, 0.5]]), torch.tensor([0.0, 1.0])
    # x in [.4, .6]^2: the hidden values lie in [-.2, .2] and [-.2, .2], after ReLU in [0, .2] both.
    low, high = bounds(model, torch.full((1, 2), 0.5), st.Linf(0.1), "interval")
    assert torch.allclose(low, torch.tensor([[-0.2, 0.4]]).double(), atol=1e-4)
    assert torch.allclose(high, torch.tensor([[0.2, 1.1]]).double(), atol=1e-4)
    # Lines: ReLU(h) lies under (h + .2) / 2, and above 0. With h1 = x1 - x2 and h2 = 2 x1 - 1, output 0 is at most
    # (h1 + .2) / 2, which is .2, and at least -(h2 + .2) / 2, which is -.2.
    low, high = bounds(model, torch.full((1, 2), 0.5), st.Linf(0.1), "crown")
    assert torch.allclose(torch.stack([low[0, 0], high[0, 0]]), torch.tensor([-0.2, 0.2]).double(), atol=1e-4)


def test_a_network_whose_signs_are_all_certain_is_bounded_exactly():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x, threat = torch.rand(6, 4) + 1, st.Linf(1e-3, None)
    sure = (model[0](x).abs() > 0.05).all(1)
    x = x[sure]
    assert len(x)
    slope = torch.autograd.functional.jacobian(lambda z: model(z).sum(0), x).permute(1, 0, 2).double()
    low, _ = bounds(model, x, threat)
    exact = model(x).double() - slope.abs().sum(2) * (1e-3 * (1 + 1e-4) + 1e-6)
    assert torch.allclose(low, exact, atol=1e-6)


def test_windows_and_whole_pictures_give_the_same_bounds(monkeypatch):
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1, groups=2), nn.ReLU(),
        nn.Conv2d(4, 3, 2, dilation=(1, 2)), nn.LeakyReLU(), nn.Flatten(), nn.Linear(60, 3),
    ).eval()  # fmt: skip
    x, threat = torch.rand(2, 2, 12, 12), st.L2(0.3)
    narrow = bounds(model, x, threat)
    monkeypatch.setattr(patches, "SMALL", 0.0)
    whole = bounds(model, x, threat)
    monkeypatch.setattr(patches, "SMALL", 100.0)
    wide = bounds(model, x, threat)
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(narrow, whole, strict=True))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(narrow, wide, strict=True))


@pytest.mark.parametrize(
    ("method", "values"), [("lipschitz", 3000), ("crown-interval", 3000), ("alpha", 50_000), ("auto", 3000)]
)
def test_a_batch_is_its_rows_one_by_one(method, values, monkeypatch):
    monkeypatch.setattr(certificate, "INNER_STEPS", 2)
    model, x = made("residual", 3), torch.rand(3, 2, 4, 4)
    labels, threat = model(x).argmax(1), st.L2(torch.tensor([0.01, 0.1, 0.5]))
    together = certify(model, x, labels, threat, method)
    few = certify(model, x, labels, threat, method, values=values)
    for row in (0, 2):
        one = slice(row, row + 1)
        alone = certify(model, x[one], labels[one], threat[one], method)
        assert torch.allclose(alone.lower, together.lower[one], atol=1e-8)
        assert alone.certified.equal(together.certified[one])
    assert torch.allclose(few.lower, together.lower, atol=1e-8)


def test_masks_levels_and_limits_narrow_the_region():
    x = torch.rand(2, 1, 4, 4) * 0.9
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, :2] = True
    wide, narrow = region_of(st.Linf(0.2), x), region_of(st.Masked(st.Levels(st.Linf(0.2)), mask), x)
    assert float(wide.low.min()) >= -1.1e-6
    assert float(wide.high.max()) <= 1 + 1.1e-6
    assert (narrow.high > narrow.low).flatten(2).any(0).equal(mask.flatten(1))
    a = torch.ones(2, 1, 1, 4, 4).double()
    masked = region_of(st.Masked(st.L2(0.2, None), mask), x)
    exact = x.double().flatten(1).sum(1) - 2**0.5 * (0.2 * (1 + 1e-4) + 1e-6)
    assert torch.allclose(masked.lowest(a, torch.arange(2)), exact)


def test_what_cannot_be_bounded_says_why():
    x, labels = torch.full((1, 4), 0.5), torch.tensor([1])
    threat = st.Linf(0.1)

    class Detour(nn.Module):
        def forward(self, x):
            return x + torch.from_numpy(x.detach().numpy() ** 2)

    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    class Choosy(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    class Product(nn.Module):
        def forward(self, x):
            return x @ x.T

    said = {
        "abs": nn.Sequential(nn.Softsign(), nn.Linear(4, 2)),
        "mm": Product(),
        "otherwise": Detour(),
        "random": Noisy(),
    }
    said |= {"followed": Choosy(), "softmax": nn.Sequential(nn.Softmax(1), nn.Linear(4, 2))}
    for reason, model in said.items():
        found = certify(model.eval(), x, labels, threat)
        assert not bool(found.certified.any())
        assert bool((found.lower == -torch.inf).all())
        assert reason in found.reason, (reason, found.reason)
        with pytest.raises(NotBounded):
            bounds(model, x, threat)
    smooth = st.SmoothedModel(nn.Linear(4, 2), 0.1)
    assert "SmoothedModel is random" in certify(smooth, x, labels, threat).reason


def test_mistakes_are_said_in_words():
    model, x, labels = nn.Linear(4, 2), torch.rand(2, 4), torch.tensor([0, 1])
    with pytest.raises(st.UserError, match="training mode"):
        certify(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), x, labels, st.Linf(0.1))
    with pytest.raises(st.UserError, match="L0 was given"):
        certify(model, x, labels, st.L0(1))
    with pytest.raises(st.UserError, match="infinite"):
        certify(model, x, labels, st.L2())
    with pytest.raises(st.UserError, match="classes 0 to 1"):
        certify(model, x, torch.tensor([0, 2]), st.Linf(0.1))
    with pytest.raises(st.UserError, match="method"):
        certify(model, x, labels, st.Linf(0.1), "best")
    with pytest.raises(st.UserError, match="parts is 0"):
        certify(model, x, labels, st.Linf(0.1), "split", parts=0)


def test_a_softmax_at_the_end_changes_no_certificate():
    torch.manual_seed(4)
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.rand(5, 4)
    labels = model(x).argmax(1)
    plain = certify(model, x, labels, st.Linf(0.02))
    sure = nn.Sequential(model, nn.Softmax(1))
    for same in (sure, nn.Sequential(model, nn.LogSoftmax(1)), Logits(sure).eval()):
        found = certify(same, x, labels, st.Linf(0.02))
        assert torch.allclose(found.lower, plain.lower)
    assert "log" in certify(Logits(sure, floor=0.4).eval(), x, labels, st.Linf(0.02)).reason
    assert bool(plain.certified.any())


def test_a_model_made_for_single_rows_and_its_state_are_left_alone():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))

        def forward(self, x):
            return torch.cat([self.inner(x[row].reshape(1, 6)) for row in range(len(x))])

    model = Single().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [parameter.requires_grad for parameter in model.parameters()]
    x, state = torch.rand(3, 2, 3), torch.get_rng_state()
    bounded(trace(model, x), region_of(st.Linf(0.1), x))
    assert all(before[name].equal(value) for name, value in model.state_dict().items())
    assert grads == [parameter.requires_grad for parameter in model.parameters()]
    assert state.equal(torch.get_rng_state())
    assert not model.training
