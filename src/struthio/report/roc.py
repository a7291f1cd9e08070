"""ROC curves in one figure: what each detector catches against what it flags by mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from struthio.checks import UserError
from struthio.detectors.roc import Roc
from struthio.report.figure import AFTER, BEFORE, INK, OTHER, PALE

COLOURS = (BEFORE, AFTER, "#4f8a5b", "#8a6a3f", "#6d5a94", "#3f8a8a", OTHER)
SIDE, WORDS = 4.2, 3.4  # inches: the square, and the names beside it


def draw_roc(curves: Mapping[str, Roc], path: Path | str, foot: str = "", format: str = "png") -> None:
    """Draw ROC curves over each other, with the area under each beside its name, and save them at `path`.

    Args:
        curves: by name, from `struthio.detectors.roc.roc`; best first, at most as many as can be told apart.
        path: where to.
        foot: a line below.
        format: "png", "svg" or "pdf".
    """
    from matplotlib.figure import Figure

    if not 0 < len(curves) <= len(COLOURS):
        raise UserError(f"{len(curves)} curves were given; 1 to {len(COLOURS)} can be told apart in one figure.")
    margin = 0.62
    width, tall = SIDE + WORDS + 2 * margin, SIDE + 2 * margin
    figure = Figure(figsize=(width, tall), facecolor="white")
    axes = figure.add_axes((margin / width, margin / tall, SIDE / width, SIDE / tall))
    axes.plot([0, 1], [0, 1], color=OTHER, linewidth=0.8, linestyle=(0, (2, 3)))
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        x, y = curve.false_positives.cpu().numpy(), curve.true_positives.cpu().numpy()
        axes.plot(x, y, color=colour, linewidth=1.6, label=f"{name}  {curve.auc:.3f}", clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="clean rows flagged", ylabel="adversarial rows flagged")
    axes.tick_params(colors=PALE, labelsize=8)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.04, 1.0), frameon=False, fontsize=9, labelcolor=INK,
                         title="area under the curve", title_fontsize=8.5, alignment="left")  # fmt: skip
    legend.get_title().set_color(PALE)
    figure.text(margin / width, 0.12 / tall, foot, fontsize=7.5, color=PALE)
    figure.savefig(path, dpi=150, format=format)
