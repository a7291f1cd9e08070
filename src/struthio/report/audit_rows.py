"""The rows that an audit's page shows: what fell and what held, before and after, as small pictures or as numbers."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from struthio.audit.findings import Findings
from struthio.audit.store import Store
from struthio.report.figure import enlarged_noise
from struthio.report.numbers import size_text

FELL, HELD = 12, 6  # rows shown of each kind
SIDE = 128  # pixels on the long side of a picture
NAMED = 4  # values that are named where a row is no picture


@dataclass(frozen=True)
class Shown:
    """One row as the page shows it.

    Attributes:
        id: its number in the data.
        label: the true class.
        predicted: the class of the best input found.
        size: of the change, as text.
        by: the part of the suite that won, or "".
        margin: how far the best input is over the border (above 0) or short of it, in logits.
        pictures: before, the change ten times on grey, and after, as data URIs; empty where the row is no picture.
        changes: the values that changed most, as texts, where it is none.
    """

    id: int
    label: int
    predicted: int
    size: str
    by: str
    margin: float
    pictures: tuple[str, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """The first rows of either kind, in the order of the data, so that nobody chose them.

    Attributes:
        fell: rows that were right and were brought down.
        held: rows that stood, each with the best attempt.
        are_pictures: whether the rows can be shown.
        coarse: whether they are so small that their pixels are shown as squares.
        limits: the values that are shown as black and white.
    """

    fell: list[Shown]
    held: list[Shown]
    are_pictures: bool
    coarse: bool
    limits: tuple[float, float]


def gallery(store: Store, threat: str, names: list[str], p: float | None) -> Gallery:
    """The rows to show of one threat; batches are read until there are enough.

    Args:
        store: of the audit.
        threat: its text.
        names: what `Findings.by` counts.
        p: of the threat's norm; None where it is no ball.
    """
    found = Gallery([], [], False, False, (0.0, 1.0))
    for findings, x, x_adv in _kept(store, threat):
        limits = (min(0.0, float(x.min())), max(1.0, float(x.max())))
        pictures = x.ndim == 4 and x.shape[1] in (1, 3)
        found = Gallery(found.fell, found.held, pictures, pictures and max(x.shape[2:]) < SIDE // 2, limits)
        for row in range(len(findings)):
            kind, most = (found.fell, FELL) if bool(findings.fell[row]) else (found.held, HELD)
            if len(kind) < most:
                kind.append(_shown(findings[row : row + 1], x[row], x_adv[row], names, p, found))
        if len(found.fell) >= FELL and len(found.held) >= HELD:
            break
    return found


def _kept(store: Store, threat: str) -> Iterator[tuple[Findings, Tensor, Tensor]]:
    """Of each batch the rows that were kept beside their clean inputs: findings, x [n, ...], x_adv [n, ...]."""
    for batch, findings in zip(sorted(store.done(threat)), store.findings(threat), strict=False):
        kept = store.pictures(threat, batch)
        if not len(kept.get("shown", ())):
            continue
        place = {int(row): number for number, row in enumerate(findings.ids)}
        yield findings[torch.tensor([place[int(row)] for row in kept["shown"]])], kept["shown_x"], kept["shown_adv"]


def _shown(found: Findings, x: Tensor, x_adv: Tensor, names: list[str], p: float | None, page: Gallery) -> Shown:
    by = int(found.by)
    size = float(found.size) if bool(found.fell) else _measured(x, x_adv, p)
    return Shown(
        id=int(found.ids),
        label=int(found.labels),
        predicted=int(found.predicted_adv),
        size=size_text(size, p) if math.isfinite(size) else "",
        by=names[by] if by >= 0 else "",
        margin=float(found.margin),
        pictures=_pictures(x, x_adv, page.limits) if page.are_pictures else (),
        changes=() if page.are_pictures else _changes(x, x_adv),
    )


def _measured(x: Tensor, x_adv: Tensor, p: float | None) -> float:
    """The size of an attempt that won nothing, where the threat is a ball."""
    return math.nan if p is None else float(torch.linalg.vector_norm((x_adv - x).flatten().double(), p))


def _pictures(x: Tensor, x_adv: Tensor, limits: tuple[float, float]) -> tuple[str, ...]:
    """Before, the change ten times on grey, and after."""
    low, high = limits
    before, after = ((one.float() - low) / (high - low) for one in (x, x_adv))
    noise = enlarged_noise(before, after)
    return _uri(_small(before, "area")), _uri(_small(noise, "nearest")), _uri(_small(after, "area"))


def _small(x: Tensor, mode: str) -> Tensor:
    """No larger than a thumbnail. Noise is thinned out, since a mean of it would be grey."""
    longest = max(x.shape[-2:])
    if longest <= SIDE:
        return x
    sides = [max(1, round(side * SIDE / longest)) for side in x.shape[-2:]]
    return F.interpolate(x[None], size=sides, mode=mode)[0]


def _uri(x: Tensor) -> str:
    """A picture [C, H, W] in [0, 1] as the text of a PNG file."""
    levels = (255 * x.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0]).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _changes(x: Tensor, x_adv: Tensor) -> tuple[str, ...]:
    """The values that changed most, the largest change first."""
    before, after = x.flatten(), x_adv.flatten()
    change = (after - before).abs()
    most = [int(place) for place in change.argsort(descending=True, stable=True)[:NAMED] if change[place] > 0]
    return tuple(f"value {place}: {float(before[place]):.4g} → {float(after[place]):.4g}" for place in most)
