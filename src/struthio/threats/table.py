"""Threats by name: `threat("linf:8/255")`, and the table that lists them."""

from __future__ import annotations

import math

from struthio import checks
from struthio.checks import UserError, near_misses
from struthio.threats.balls import L0, L1, L2, Linf
from struthio.threats.box import PIXELS, Box
from struthio.threats.patch import Patch
from struthio.threats.spatial import Spatial

AnyBall = Linf | L2 | L1 | L0
BALLS: dict[str, type[AnyBall]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}
THREATS: dict[str, type[AnyBall | Patch | Spatial]] = {**BALLS, "patch": Patch, "spatial": Spatial}
EXAMPLES = {
    "linf": "linf:8/255",
    "l2": "l2:0.5",
    "l1": "l1:12",
    "l0": "l0:10 or l0:10:pixel",
    "patch": "patch:5x7 or patch:5x7@0,10",
    "spatial": "spatial:30:0.1",
}


def threat(spec: str, box: Box | None = PIXELS) -> AnyBall | Patch | Spatial:
    """A threat from its text: a norm, a radius (a number, a fraction such as 8/255, or inf), for L0 also the unit;
    `patch:5x7`, a patch 5 pixels high and 7 wide anywhere (`patch:5` is a square), or with its top and left
    `patch:5x7@0,10`; or `spatial:30:0.1`, a rotation of up to 30 degrees with a shift of up to a tenth of the side.

    Raises UserError where the text means nothing, or names a radius that cannot be meant.
    """
    name, _, rest = spec.partition(":")
    name = name.strip().lower()
    if name == "spatial":
        return _spatial(rest, spec, box)
    if name == "patch":
        return _patch(rest, spec, box)
    kind = BALLS.get(name)
    if kind is None:
        raise UserError(
            f"{spec!r} names no known threat. {near_misses(name, list(THREATS), 'threats')} Example: linf:8/255."
        )
    size, _, unit = rest.partition(":")
    eps = math.inf if not size or size.strip() == "inf" else _number(size, spec)
    if unit and kind is not L0:
        raise UserError(f"{spec!r} has a third part, {unit!r}, which only l0 knows. Example: {EXAMPLES[name]}.")
    return L0(eps, box, unit) if unit else kind(eps, box)


def _spatial(rest: str, spec: str, box: Box | None) -> Spatial:
    limits = [_number(part, spec) for part in rest.split(":") if part]
    if len(limits) > 2:
        raise UserError(f"{spec!r} has too many parts; an angle in degrees and a share of the side: spatial:30:0.1.")
    return Spatial(box=box, **dict(zip(("angle", "shift"), limits, strict=False)))


def _patch(rest: str, spec: str, box: Box | None) -> Patch:
    size, _, corner = rest.partition("@")
    try:
        sides, place = [int(part) for part in size.split("x")], [int(part) for part in corner.split(",") if part]
    except ValueError:
        sides, place = [], []
    if len(sides) not in (1, 2) or len(place) != (2 if corner else 0):
        raise UserError(f"{spec!r} is no patch; its height x width in pixels is needed: {EXAMPLES['patch']}.")
    return Patch(sides[0], sides[-1], (place[0], place[1]) if place else None, box=box)


def _number(text: str, spec: str) -> float:
    try:
        return checks.number(text)
    except ValueError as error:
        raise UserError(f"{text!r} in {spec!r} is no number; write one such as 0.03 or 8/255.") from error
