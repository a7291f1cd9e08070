"""Three panels: the picture before, the noise that was added, the picture after, each with what the network says."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from struthio.report.numbers import likely, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, TRACK = "#222222", "#767676", "#ececec"
BEFORE, AFTER, OTHER = "#35618f", "#c2452d", "#b4b4b4"
WIDE, GAP, MARGIN = 3.4, 0.42, 0.42  # inches: a panel, between panels, around all
TITLE, BARS, FOOT = 0.42, 1.32, 0.34  # inches above and below the pictures
MOST = 1200  # pixels on the long side of a panel


@dataclass(frozen=True)
class Panel:
    """One picture with what the network says of it.

    Attributes:
        title: stands above.
        picture: [C, H, W] in [0, 1], C 1 or 3.
        answers: class names with their probabilities, strongest first.
    """

    title: str
    picture: Tensor
    answers: Sequence[tuple[str, float]]


def enlarged_noise(x: Tensor, x_adv: Tensor, times: float = 10) -> Tensor:
    """The change, enlarged and laid on middle grey: clip(0.5 + times * (x_adv - x)) to [0, 1]."""
    return (0.5 + times * (x_adv - x)).clamp(0, 1)


def draw(panels: Sequence[Panel], path: Path, foot: str = "", format: str = "png") -> None:
    """Draw panels side by side and save them at `path`.

    The class said first of the first panel has one colour throughout, that of the last panel another.
    """
    from matplotlib.figure import Figure

    height = WIDE * min(max(max(p.picture.shape[-2] / p.picture.shape[-1] for p in panels), 0.05), 1.6)
    width = 2 * MARGIN + len(panels) * WIDE + (len(panels) - 1) * GAP
    tall = MARGIN * 0.6 + TITLE + height + BARS + FOOT
    figure = Figure(figsize=(width, tall), facecolor="white")
    colours = {panels[-1].answers[0][0]: AFTER, panels[0].answers[0][0]: BEFORE}
    for index, panel in enumerate(panels):
        left = MARGIN + index * (WIDE + GAP)
        _picture(_axes(figure, left, FOOT + BARS, height), panel)
        _answers(_axes(figure, left, FOOT, BARS - 0.14), panel, colours)
    figure.text(MARGIN / width, FOOT * 0.42 / tall, foot, fontsize=7.5, color=PALE, va="center", parse_math=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of a file's name: the font has no sign for every script
        figure.savefig(path, dpi=150, format=format)


def _axes(figure: Figure, left: float, bottom: float, height: float) -> Axes:
    """A place for drawing, in inches from the lower left corner."""
    width, tall = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / tall, WIDE / width, height / tall))
    axes.axis("off")
    return axes


def _picture(axes: Axes, panel: Panel) -> None:
    x = panel.picture.detach().float().cpu()[None]
    longest = max(x.shape[-2:])
    if longest > MOST:
        sides = [max(1, round(side * MOST / longest)) for side in x.shape[-2:]]
        x = F.interpolate(x, size=sides, mode="area")
    shown = x[0].permute(1, 2, 0).numpy()
    axes.imshow(shown if shown.shape[2] == 3 else shown[..., 0], cmap="gray", vmin=0, vmax=1)
    axes.set_anchor("NW")
    axes.annotate(
        panel.title, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=11.5, color=INK
    )


def _answers(axes: Axes, panel: Panel, colours: dict[str, str]) -> None:
    """For each class its name, its probability, and a thin bar under both."""
    axes.set_xlim(0, 1)
    axes.set_ylim(len(panel.answers), 0)
    for row, (name, probability) in enumerate(panel.answers):
        colour = colours.get(name, OTHER)
        ink = INK if name in colours else PALE
        style: dict[str, Any] = {"va": "center", "fontsize": 9.5, "color": ink, "parse_math": False}
        axes.text(0, row + 0.42, short_name(name, 32), ha="left", **style)
        axes.text(1, row + 0.42, likely(probability), ha="right", **style)
        axes.barh(row + 0.80, 1, height=0.1, color=TRACK)
        axes.barh(row + 0.80, probability, height=0.1, color=colour)
