"""Small models whose answers are known: a convolutional network, and a linear one with its exact distances."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from struthio.threats import PIXELS, Box


def small_net(side: int = 8, channels: int = 3, classes: int = 5, seed: int = 5) -> nn.Sequential:
    """A network with random weights for pictures [n, channels, side, side], in float64 and evaluation mode.

    It has batch-norm and dropout, a part left in training mode where that changes no answer, a frozen parameter and
    parameters with and without a gradient, so that whoever disturbs any of these is seen.
    """
    half = (side + 1) // 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 6, 3, stride=2, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(6 * half * half, 16),
            nn.ReLU(),
            nn.Linear(16, classes),
        )
        for parameter in net.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)
        buffers = dict(net.named_buffers())
        nn.init.uniform_(buffers["1.running_mean"], -0.2, 0.2)
        nn.init.uniform_(buffers["1.running_var"], 0.5, 2.0)
    net = net.double().eval()
    with torch.no_grad():  # no class is favoured
        net[7].bias -= net(small_inputs(64, side, channels, seed=seed + 1)).mean(0)
    net[3].train()
    net[0].bias.requires_grad_(False)
    weight = net.get_parameter("0.weight")
    weight.grad = torch.ones_like(weight)
    return net


def small_inputs(n: int = 8, side: int = 8, channels: int = 3, box: Box = PIXELS, seed: int = 0) -> Tensor:
    """Random pictures [n, channels, side, side] in float64 on the 256 levels between the limits, which some touch."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(-20, 276, (n, channels, side, side), generator=generator).clamp(0, 255).double()
    return box.low + places / 255 * (torch.as_tensor(box.high, dtype=torch.float64) - box.low)


class LinearModel(nn.Module):
    """Scores W x + b, whose smallest adversarial change is known exactly.

    Args:
        weight: [classes, d], d the number of values in a row of x.
        bias: [classes].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, [n, classes]."""
        return x.flatten(1) @ self.weight.T + self.bias


def linear_model(d: int, classes: int = 2, seed: int = 0) -> LinearModel:
    """A random linear model in float64; with two classes, scores (-s, s)."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, d, generator=generator, dtype=torch.float64)
    bias = torch.randn(classes, generator=generator, dtype=torch.float64) * 0.1
    if classes == 2:
        weight[0], bias[0] = -weight[1], -bias[1]
    return LinearModel(weight, bias)


def smallest_change(slope: Tensor, need: float, room: Tensor, p: float) -> float:
    """The smallest p-norm of a change d, |d_i| <= room_i, with sum |slope_i d_i| >= need; infinite where there is none.

    Linf and L2 by bisection on the radius; L1 by filling the values of greatest slope first.

    Args:
        slope: [d].
        need: how much the score must rise.
        room: how far each value may go the way that helps, [d]; infinite without limits.
        p: 1, 2 or infinity.
    """
    height = slope.abs()
    if need <= 0:
        return 0.0
    if float((height * room).nan_to_num(nan=0.0).sum()) < need:
        return math.inf
    if p == 1:
        left, radius = need, 0.0
        for gain, most in sorted(zip(height.tolist(), room.tolist(), strict=True), reverse=True):
            step = min(most, left / gain)
            radius, left = radius + step, left - gain * step
            if left <= 1e-15 * need:
                break
        return radius
    # The best change is min(t, room) in Linf and min(t * slope, room) in L2: one number t, found by bisection.
    shape = torch.ones_like(height) if math.isinf(p) else height
    low, high = 0.0, 1.0
    while float((height * torch.minimum(high * shape, room)).sum()) < need:
        high *= 2
    for _ in range(64):
        middle = (low + high) / 2
        enough = float((height * torch.minimum(middle * shape, room)).sum()) >= need
        low, high = (low, middle) if enough else (middle, high)
    return float(torch.linalg.vector_norm(torch.minimum(high * shape, room), ord=p))


def exact_distance(model: LinearModel, x: Tensor, labels: Tensor, p: float, box: Box | None = PIXELS) -> Tensor:
    """The distance of each row from the nearest point of another class, in the p-norm and within the limits, [n]."""
    with torch.no_grad():
        scores, flat = model(x), x.flatten(1)
        limits = (torch.full_like(flat, -torch.inf), torch.full_like(flat, torch.inf))
        down, up = limits if box is None else (part.flatten(1) for part in box.room(x))
        distances = torch.full((len(x), scores.shape[1]), torch.inf, dtype=torch.float64)
        for row, label in enumerate(labels.tolist()):
            for other in {*range(scores.shape[1])} - {label}:
                slope = model.weight[other] - model.weight[label]
                room = torch.where(slope > 0, up[row], -down[row])
                need = float(scores[row, label] - scores[row, other])
                distances[row, other] = smallest_change(slope, need, room, p)
    return distances.amin(1)
