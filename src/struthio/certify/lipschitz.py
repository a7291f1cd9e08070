"""How fast margins can change at most: a product of the layers' spectral norms, which no attack can beat.

Szegedy et al., 2013, arXiv 1312.6199 (section 4.3); margins over it as a certificate: Tsuzuku, Sato, Sugiyama, 2018,
arXiv 1802.04034. Power iteration finds a spectral norm from below, so it is not used. Linear layers are decomposed. A
convolution is a part of one on a large enough circle, whose norm the Fourier transform gives exactly (Sedghi, Gupta,
Long, 2019, arXiv 1805.10408).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio import checks
from struthio.certify.network import Network, Node
from struthio.certify.operations import aten
from struthio.certify.region import Region
from struthio.certify.trace import trace
from struthio.types import Model

ROUNDING = 1 + 1e-9
WORK = 1e11  # multiplications that a norm may cost; past it the looser bound by sums is taken


@torch.no_grad()
def lipschitz_radius(model: Model, x: Tensor, labels: Tensor) -> Tensor:
    """The Euclidean distance below which nothing moves a row to another class, [n]; 0 where it is wrong already.

    Args:
        model: in evaluation mode.
        x: rows [n, ...].
        labels: their classes, int64 [n].

    Raises:
        NotBounded: where the model has an operation that is not known.
    """
    checks.classes(labels, len(x), "labels")
    network = trace(model, x)
    logits = network(x)
    radius = margins(logits, labels) / steepness(network)[labels]
    return radius.amin(1).clamp(min=0).nan_to_num(posinf=torch.inf)


def least_margin(network: Network, region: Region, labels: Tensor) -> Tensor:
    """Lower bounds [n] on the least margin of each row: those at x, less what the longest step there can change."""
    free = (region.high > region.low).flatten(1)
    corner = torch.maximum(region.high - region.x, region.x - region.low).flatten(1).norm(dim=1)
    reach = corner if region.eps is None else torch.minimum(corner, region.eps)
    moves = free.any(1, keepdim=True) & (reach[:, None] > 0)
    change = torch.where(moves, steepness(network)[labels] * reach[:, None], 0.0)
    return (margins(network(region.x.squeeze(1)), labels) - change).amin(1)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the label minus each other, [n, classes]; infinite at the label itself."""
    gaps = logits.gather(1, labels[:, None]) - logits
    return gaps.scatter(1, labels[:, None], torch.inf)


def steepness(network: Network) -> Tensor:
    """The most that logit i minus logit j changes for a step of length 1, [classes, classes]; 1 on the diagonal."""
    classes = network.nodes[-1].shape.numel()
    pairs = torch.eye(classes, dtype=torch.float64, device=network.nodes[0].like.device)
    a = (pairs[:, None] - pairs[None]).reshape(-1, *network.nodes[-1].shape)
    number, most = len(network.nodes) - 1, _constants(network)
    while network.nodes[number].relaxation is None and len(network.nodes[number].sources) == 1:
        a = network.nodes[number].back(a)[0]  # the last layers of a pair as one, which is less than their product
        number = network.nodes[number].sources[0]
    slopes: Tensor = most[number] * a.flatten(1).norm(dim=1).reshape(classes, classes) * ROUNDING
    slopes.nan_to_num_(nan=torch.inf)  # no steps at all times a constant that is not known
    slopes.fill_diagonal_(1.0)
    return slopes


def _constants(network: Network) -> list[float]:
    """A Lipschitz constant of every node's value, as a function of the input."""
    found = [1.0]
    for node in network.nodes[1:]:
        if node.relaxation is None:
            parts = zip(_norms(node), node.sources, strict=True)
            found.append(sum(norm * found[source] for norm, source in parts) * ROUNDING)
        else:
            found.append(found[node.sources[0]] * node.relaxation.steepest)
    return found


def _norms(node: Node) -> list[float]:
    """Upper bounds on the spectral norm of an affine operation, for each of its sources."""
    bounds = _by_sums(node)
    if len(node.sources) == 1:
        exact = _by_layer(node)
        return [min(bounds[0], exact)] if exact is not None else bounds
    return bounds


def _by_sums(node: Node) -> list[float]:
    """The root of the largest row sum times the largest column sum of absolute values (Schur's test)."""
    assert node.spread is not None
    ones = [node.like.new_ones(shape) for shape in node.shapes]
    zeros = [torch.zeros_like(one) for one in ones]
    out, pull, *_ = torch.func.vjp(node.spread, *zeros)
    columns = pull(torch.ones_like(out))
    norms = []
    for place, column in enumerate(columns):
        alone = [one if here == place else zero for here, (one, zero) in enumerate(zip(ones, zeros, strict=True))]
        rows = node.spread(*alone) - out
        norms.append(float((rows.max().clamp(min=0) * column.max().clamp(min=0)).sqrt()))
    return norms


def _by_layer(node: Node) -> float | None:
    """The norm of a linear layer by its singular values, of a convolution by its Fourier transform."""
    args = node.args
    if node.op in (aten.mm.default, aten.addmm.default):
        matrix = args[-1]
        if isinstance(matrix, Tensor) and matrix.numel() * min(matrix.shape) < WORK:
            return float(torch.linalg.matrix_norm(matrix, 2))
    if node.op is aten.convolution.default and isinstance(args[1], Tensor) and args[1].ndim == 4 and not args[6]:
        norm = convolution_norm(args[1], node.shapes[0][2:], args[3], args[4], args[5], args[8])
        return None if norm is None else float(norm)
    return None


def convolution_norm(
    kernel: Tensor, size: tuple[int, ...], stride: list[int], padding: list[int], dilation: list[int], groups: int
) -> Tensor | None:
    """An upper bound on the spectral norm of a convolution with zero padding, with its gradient; None where it would
    cost too much.

    A stride of s reads a picture as one with s * s times as many channels, which keeps all lengths.

    Args:
        kernel: [out, in / groups, height, width].
        size: height and width of its input.
        stride: in both directions.
        padding: of zeros, likewise.
        dilation: likewise.
        groups: of channels that do not meet.
    """
    sides = [far * (side - 1) + 1 for far, side in zip(dilation, kernel.shape[2:], strict=True)]
    wide = kernel.new_zeros(*kernel.shape[:2], *sides)
    wide[:, :, :: dilation[0], :: dilation[1]] = kernel
    (high, broad), (down, right) = sides, stride
    wide = F.pad(wide, (0, -broad % right, 0, -high % down))
    blocks = wide.unflatten(3, (-1, right)).unflatten(2, (-1, down)).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
    grid = [-(-(side + 2 * pad) // step) + count - 1
            for side, pad, step, count in zip(size, padding, stride, blocks.shape[2:], strict=True)]  # fmt: skip
    blocks = blocks.unflatten(0, (groups, -1))
    outs, ins = blocks.shape[1:3]
    if grid[0] * (grid[1] // 2 + 1) * groups * outs * ins * min(outs, ins) > WORK:
        return None
    waves = torch.fft.rfft2(blocks, s=grid).permute(0, 3, 4, 1, 2)
    norm: Tensor = torch.linalg.matrix_norm(waves, 2).max()
    return norm
