"""Questions about single values of a convolution's output, walked back as small windows instead of whole pictures.

Such a value depends on a small part of the picture alone. Xu et al., 2020, arXiv 2002.12920, call it patches mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio.certify.chosen import Chosen
from struthio.certify.lines import Enclosure, Lines
from struthio.certify.network import Network, Node
from struthio.certify.operations import aten

SMALL = 0.5  # a window of a larger part of the picture than this is no longer worth it


@dataclass(frozen=True)
class Window:
    """Coefficients of one window of a picture for each question, zero elsewhere.

    Attributes:
        values: [m, channels, height, width].
        top: the line of the picture where the window begins, [m]; it may lie outside, in the padding.
        left: its column, [m].
    """

    values: Tensor
    top: Tensor
    left: Tensor

    def lines(self, height: int) -> tuple[Tensor, Tensor]:
        """The lines [m, h] of the window, held inside the picture, and which of them are really there."""
        return _steps(self.top, self.values.shape[2], height)

    def columns(self, width: int) -> tuple[Tensor, Tensor]:
        """The columns [m, w], likewise."""
        return _steps(self.left, self.values.shape[3], width)

    def inside(self, shape: torch.Size) -> Window:
        """What lies in the padding set to zero, for a picture [1, c, h, w]."""
        there = self.lines(shape[2])[1][:, None, :, None] & self.columns(shape[3])[1][:, None, None, :]
        return Window(self.values * there, self.top, self.left)

    def of(self, pictures: Tensor, rows: Tensor) -> Tensor:
        """The same windows of pictures [n, 1, c, h, w], each of its row: [m, c, h, w]."""
        lines, columns = self.lines(pictures.shape[3])[0], self.columns(pictures.shape[4])[0]
        last = pictures[:, 0].permute(0, 2, 3, 1)
        return last[rows[:, None, None], lines[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def whole(self, shape: torch.Size) -> Tensor:
        """The coefficients of whole pictures, [m, 1, c, h, w]."""
        kept = self.inside(shape).values
        count, channels, height, width = len(kept), *shape[1:]
        place = self.lines(height)[0][:, :, None] * width + self.columns(width)[0][:, None, :]
        place = place.flatten(1)[:, None, :].expand(-1, channels, -1)
        out = kept.new_zeros(count, channels, height * width)
        return out.scatter_add_(2, place, kept.flatten(2)).reshape(count, *shape)


def _steps(start: Tensor, size: int, limit: int) -> tuple[Tensor, Tensor]:
    steps = start[:, None] + torch.arange(size, device=start.device)
    return steps.clamp(0, limit - 1), (steps >= 0) & (steps < limit)


def walks(network: Network, number: int) -> bool:
    """Whether a node's value is a picture that comes from a convolution, perhaps scaled."""
    node = network.nodes[number]
    while node.elementwise and len(node.sources) == 1:
        node = network.nodes[node.sources[0]]
    return _convolves(node)


def _convolves(node: Node) -> bool:
    """Whether it is a convolution of one picture a row with a fixed kernel."""
    plain = node.op is aten.convolution.default and isinstance(node.args[1], Tensor)
    return plain and len(node.shape) == 4 and node.shape[0] == 1 and not node.args[6]


def walk_back(
    network: Network,
    enclosures: Mapping[int, Enclosure],
    number: int,
    rows: Tensor,
    places: Tensor,
    sign: float,
    chosen: Chosen | None = None,
) -> tuple[int, Tensor, Tensor]:
    """From sign times single values of a node, as far back as windows stay small.

    Args:
        network: the operations.
        enclosures: the lines of the nonlinear ones.
        number: the node, a picture.
        rows: the row of each question, [m].
        places: which value of the node it asks about, [m].
        sign: 1 or -1.
        chosen: the slopes of lower lines that are free, in the shape of the windows; None takes them as they are.

    Returns:
        A node further back, the coefficients [m, 1, ...] of its value, and a constant [m].
    """
    shape = network.nodes[number].shape
    channel, line, column = places // shape[2:].numel(), places // shape[3] % shape[2], places % shape[3]
    like = network.nodes[0].like
    one = like.new_zeros(len(rows), shape[1]).scatter_(1, channel[:, None], sign)
    window, constant = Window(one[:, :, None, None], line, column), like.new_zeros(len(rows))
    while True:
        node = network.nodes[number]
        area = window.values.shape[2] * window.values.shape[3]
        if number == 0 or len(node.sources) != 1 or area > SMALL * node.shape[2:].numel():
            break
        enclosure = enclosures.get(number)
        if _convolves(node):
            constant = constant + (window.values.sum((2, 3)) * _bias(node)).sum(1)
            window = _through(node, window).inside(network.nodes[node.sources[0]].shape)
        elif isinstance(enclosure, Lines):
            lines = enclosure.taken(partial(window.of, rows=rows))
            values, more = lines.turned(None if chosen is None else partial(chosen.slope, number)).pull(window.values)
            constant, window = constant + more, Window(values, window.top, window.left)
        elif node.elementwise and node.shape == network.nodes[node.sources[0]].shape:
            every = torch.zeros_like(rows)
            slope, shift = node.back(like.new_ones(1, *node.shape))[0], node.offset[None]
            constant = constant + (window.values * window.of(shift, every)).flatten(1).sum(1)
            window = Window(window.values * window.of(slope, every), window.top, window.left)
        else:
            break
        number = node.sources[0]
    return number, window.whole(network.nodes[number].shape), constant


def _bias(node: Node) -> Tensor:
    bias = node.args[2]
    return bias if bias is not None else node.like.new_zeros(node.shape[1])


def _through(node: Node, window: Window) -> Window:
    """The window of a convolution's input from that of its output: one kernel for each value, laid over each other."""
    _, kernel, _, stride, padding, dilation, _, _, groups = node.args
    values = window.values
    if groups > 1:
        wide = F.conv_transpose2d(values, kernel, stride=stride, dilation=dilation, groups=groups)
    else:
        height, width = (
            (size - 1) * step + far * (side - 1) + 1
            for size, step, far, side in zip(values.shape[2:], stride, dilation, kernel.shape[2:], strict=True)
        )
        columns = torch.einsum("mop,ok->mkp", values.flatten(2), kernel.flatten(1))
        wide = F.fold(columns, (height, width), kernel.shape[2:], dilation, 0, stride)
    return Window(wide, window.top * stride[0] - padding[0], window.left * stride[1] - padding[1])
