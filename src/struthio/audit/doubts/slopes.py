"""Doubts about the gradient: absent, zero, not a number, or no guide to what a step does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.audit.doubts.kinds import Doubt
from struthio.audit.doubts.probe import Probe, SoftMargin, cosine

STEP = 0.05  # of the radius: what a step of twenty is
WAYS = 4
ROWS = 32  # on which the slope is followed; it is looked at on all


@dataclass(frozen=True)
class Guide:
    """How well the slope tells what a small step does, one entry a row.

    Attributes:
        kept: what the step gained, as a share of what the slope promised; 1 for a smooth model.
        turned: the cosine between the slope and that at a random point a step away.
        gain: what the step along the slope gained.
        chance: what the best of a few random steps of the same length gained.
    """

    kept: Tensor
    turned: Tensor
    gain: Tensor
    chance: Tensor


def guide(probe: Probe, slope: Tensor) -> Guide:
    """Go a step along the slope, and a few at random. The model's own randomness is held still."""
    zero = probe.threat.zero(probe.x)
    z = probe.step(slope, STEP)
    start = probe.goal.score(SoftMargin(), probe.clean)
    gain = probe.score(z) - start
    promised = (slope * z).flatten(1).sum(1)
    ways = [probe.generator.fold(300 + way).normal(probe.x.shape[1:], probe.x.dtype) for way in range(WAYS)]
    chance = torch.stack([probe.score(probe.step(way.reshape_as(zero), STEP)) - start for way in ways]).amax(0)
    near = probe.slope(probe.nearby(STEP, 310))
    turned = torch.zeros_like(gain) if near is None else cosine(slope, near)
    return Guide(gain / promised.clamp(min=1e-30), turned, gain, chance)


def slopes(probe: Probe) -> Iterator[Doubt]:
    """The slope at the rows themselves, and a step along it."""
    slope = probe.slope(probe.threat.zero(probe.x))
    if slope is None:
        yield Doubt("no-gradient", "The graph from the outputs back to the input is interrupted.")
        return
    broken = ~slope.flatten(1).isfinite().all(1)
    if bool(broken.any()):
        share = float(broken.float().mean())
        yield Doubt(
            "nan-gradient", f"The gradient of {share:.0%} of the rows holds NaN or infinity.", numbers={"share": share}
        )
    zero = (slope == 0).flatten(1).all(1)
    if bool(zero.any()):
        share = float(zero.float().mean())
        yield Doubt(
            "zero-gradient", f"The gradient of {share:.0%} of the rows is exactly zero.", numbers={"share": share}
        )
    useful = (~broken & ~zero)[:ROWS]
    if bool(useful.any()):
        yield from _misleading(guide(probe.few(ROWS), slope[:ROWS].nan_to_num(0, 0, 0)), useful)


def _misleading(found: Guide, rows: Tensor) -> Iterator[Doubt]:
    kept, turned = found.kept[rows], float(found.turned[rows].median())
    astray = float(((kept < 1 / 3) | (kept > 3)).float().mean())
    middle = float(kept.median())
    if astray > 1 / 3 or turned < 0.2:
        yield Doubt(
            "shattered-gradient",
            f"A step of 1/20 of the radius gains {middle:.2g} times what the gradient promises (median), less than a "
            f"third or more than three times in {astray:.0%} of the rows. A random step as long turns the gradient to "
            f"a cosine of {turned:.2f}.",
            numbers={"kept": middle, "astray": astray, "cosine": turned},
        )
    beaten = float((found.gain <= found.chance)[rows].float().mean())
    if beaten > 1 / 3:
        yield Doubt(
            "random-direction",
            f"In {beaten:.0%} of the rows the best of {WAYS} random steps gains as much as the one along the gradient.",
            numbers={"beaten": beaten},
        )
