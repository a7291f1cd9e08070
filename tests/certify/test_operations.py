"""Operations as models write them: with options rarely met, every one is bounded soundly, or refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.certify import bounds, certify, lipschitz_radius
from struthio.certify.network import NotBounded


class Between(nn.Module):
    """An operation between two linear layers, of two by two values that take either sign."""

    def __init__(self, operation):
        super().__init__()
        torch.manual_seed(5)
        self.first, self.last = nn.Linear(2, 4), nn.LazyLinear(3)
        self.operation = operation
        self(torch.zeros(1, 2))

    def forward(self, x):
        return self.last(self.operation(3 * self.first(x)).flatten(1))


def pooled(x, **options):
    return F.avg_pool2d(x.reshape(-1, 1, 2, 2), 2, 1, 1, **options)


def padded(x):
    return F.max_pool2d(F.pad(x.reshape(-1, 1, 2, 2), (0, 1, 1, 0), value=-torch.inf), 2, 1)


def tiles(x):
    """Both columns of a picture as pictures of their own."""
    tile = x.reshape(-1, 2, 2).transpose(1, 2).reshape(-1, 1, 2, 1)
    kernel = torch.tensor([1.0, -2.0, 3.0, 1.5]).reshape(2, 1, 2, 1)
    inner = F.conv2d(tile, kernel, padding=(1, 0)).relu()
    return F.conv2d(inner, kernel.reshape(1, 2, 2, 1)).relu().reshape(len(x), -1)


OPERATIONS = {
    "times whole numbers": lambda x: x * torch.tensor([-1, 2, -3, 1]),
    "by whole numbers": lambda x: x / torch.tensor([-1, 2, -3, 1]),
    "a mask": lambda x: x * torch.tensor([True, False, True, True]),
    "less twice": lambda x: torch.sub(1, x, alpha=2).relu() - torch.add(x, x.relu(), alpha=-0.5),
    "in place": lambda x: x.mul_(-2).add_(1).relu_().neg_(),
    "an odd average": lambda x: pooled(x, divisor_override=-2),
    "an average of what is there": lambda x: pooled(x, count_include_pad=False, ceil_mode=True),
    "padded with infinity": padded,
    "parts as a batch": tiles,
    "an empty clamp": lambda x: x.clamp(1.5, 1.0) + x.clamp(0.2, 0.2) + x,
    "steep leaky": nn.LeakyReLU(2.0),
    "leaky turned": nn.LeakyReLU(-0.5),
    "prelu": nn.PReLU(4),
    "celu": nn.CELU(2.0),
    "glu": lambda x: F.glu(torch.cat([x, -x], 1)),
    "log sigmoid": nn.LogSigmoid(),
    "maximum": lambda x: torch.maximum(x, 0.3 - x.flip(1)),
    "minimum": lambda x: torch.minimum(x, 0.3 - x.flip(1)),
    "early softplus": nn.Softplus(1.0, 0.5),
    "scaled layer": lambda x: torch.addmm(x.new_ones(4), x, torch.eye(4), beta=2, alpha=-0.5).relu(),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_no_point_of_a_grid_leaves_the_bounds(operation):
    model = Between(operation).eval().requires_grad_(False)
    if isinstance(operation, nn.PReLU):
        operation.weight.copy_(torch.tensor([-1.5, 0.2, 1.0, 2.5]))
    steps = torch.linspace(0, 1, 33)
    outputs = model(torch.cartesian_prod(steps, steps))
    x, threat = torch.full((1, 2), 0.5), st.Linf(0.5)
    widths = []
    for method in ("interval", "crown"):
        low, high = bounds(model, x, threat, method)
        assert bool((outputs >= low - 1e-5).all()), method
        assert bool((outputs <= high + 1e-5).all()), method
        widths.append(float((high - low).sum()))
    assert widths[1] <= widths[0] + 1e-9
    assert widths[1] < 6 * float((outputs.amax(0) - outputs.amin(0)).sum())


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: (x * 255).to(torch.uint8).float() / 255,
        nn.CELU(-1.0),
        nn.Sequential(nn.Softmax(0), nn.Linear(4, 4)),
        lambda x: x + torch.tensor([0, -torch.inf, 0, 0]).relu() * x.round(),
    ],
)
def test_what_has_no_bounds_is_refused(operation):
    with pytest.raises(NotBounded):
        bounds(Between(operation).eval(), torch.full((1, 2), 0.5), st.Linf(0.1))


class Ending(nn.Module):
    """Three logits, and what a model may do with them at its end."""

    def __init__(self, end):
        super().__init__()
        torch.manual_seed(0)
        self.logits, self.end = nn.Linear(4, 3), end

    def forward(self, x):
        return self.end(self.logits(x))


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        (lambda z: z.softmax(1).clamp(min=0.2), True),
        (lambda z: z.log_softmax(1).clamp(min=-3), True),
        (lambda z: z.softmax(1).clamp(min=1e-6).log(), True),
        (lambda z: z.softmax(1).clamp(min=0.34), False),  # may hide every class
        (lambda z: z.log_softmax(1).clamp(min=-0.1), False),
        (lambda z: z.softmax(1).log().clamp(min=-0.1), False),
        (lambda z: z.log_softmax(1).clamp(max=-0.1), False),
        (lambda z: z.softmax(0), False),
    ],
)
def test_an_end_is_left_out_only_where_it_hides_no_margin(end, kept):
    model, x = Ending(end).eval(), torch.full((1, 4), 0.5)
    labels = model.logits(x).argmax(1)
    assert (certify(model, x, labels, st.Linf(1e-3)).reason is None) == kept


def test_factors_of_a_layer_count_for_its_norm():
    matrix = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    x, label = torch.tensor([[1.0, 0.25]]), torch.tensor([0])  # outputs 30 and 10, and 50 is the norm of their slopes
    radius = lipschitz_radius(lambda x: torch.addmm(x.new_zeros(2), x, matrix, alpha=10).relu() * 1, x, label)
    assert float(radius) == pytest.approx(20 / (40 * 2**0.5), abs=1e-6)


class Far(nn.Module):
    """Two sums, on the way far from 0."""

    def forward(self, x):
        return (x.unflatten(1, (2, 2)).sum(2) + 2.0**13) - 2.0**13


def test_rounding_is_looked_for_where_an_attack_may_go():
    """At x nothing is rounded, since its values are few bits long; elsewhere more than a margin of 0.0004 is."""
    x = torch.tensor([[0.5, 0.5, 0.25, 0.25]])
    found = certify(Far(), x, torch.tensor([0]), st.Linf(0.1249))
    assert found.reason is None
    assert 0 < float(found.lower) < 5e-4
    assert not bool(found.certified)
    assert bool(certify(Far(), x, torch.tensor([0]), st.Linf(0.12)).certified)


def test_a_compiled_or_prepared_model_is_bounded_as_it_was_given():
    net, x, y = Between(torch.relu).eval(), torch.tensor([[0.3, 0.6]]), torch.tensor([0])
    wanted = certify(net, x, y, st.Linf(0.01)).lower
    for made in (torch.compile(net), st.prepare(net, x)):
        assert torch.equal(certify(made, x, y, st.Linf(0.01)).lower, wanted)
