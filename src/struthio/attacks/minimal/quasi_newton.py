"""The least of a smooth function between limits, a row each: limited-memory quasi-Newton steps, cut at the limits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from struthio.attacks.task import narrow, remaining
from struthio.rows import where_rows
from struthio.types import State

ENOUGH = 1e-4  # the share of the promised fall that a step must bring (Armijo)
SHORTEST = 20  # how often a step is shortened before its row gives up
BEND = 1e-10  # s.y as a share of y.y, below which a pair tells nothing of the curvature

Look = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def minimise(
    look: Look, z: Tensor, low: Tensor, high: Tensor, *, steps: int, memory: int = 10, tolerance: float = 1e-5
) -> Tensor:
    """Go down from z, every row at its own pace: a row takes its step or shortens it, and leaves when it has arrived.

    The direction is that of L-BFGS (Nocedal, 1980) among the values that no limit holds, as in the projected methods of
    Bertsekas (1982); the line search goes back along the path that is cut at the limits.

    Args:
        look: from the numbers of the rows still on their way [k] and their z [k, d] to their values [k] and slopes.
        z: where to begin, [n, d].
        low: the lower limits, [n, d]; may be infinite.
        high: the upper limits.
        steps: how often `look` is called, at most.
        memory: how many steps, and changes of slope along them, are remembered.
        tolerance: a row has arrived when a step along the slope, cut at the limits, moves no value further than this.

    Returns:
        The best z of each row, [n, d].
    """
    state = _begin(look, z.clamp(low, high), low, high, memory, tolerance)
    end = state["z"].clone()
    for _ in range(steps - 1):
        stay = remaining(state["done"])
        if not len(stay):
            break
        if len(stay) < len(state["done"]):
            state = narrow(state, stay)
        ahead = (state["z"] + state["pace"][:, None] * state["way"]).clamp(state["low"], state["high"])
        state = _settle(state, ahead, *look(state["rows"], ahead), tolerance)
        end[state["rows"]] = state["z"]
    return end


def _begin(look: Look, z: Tensor, low: Tensor, high: Tensor, memory: int, tolerance: float) -> State:
    rows = torch.arange(len(z), device=z.device)
    value, slope = look(rows, z)
    state = {"rows": rows, "z": z, "value": value, "slope": slope, "low": low, "high": high}
    state |= {name: z.new_zeros(len(z), memory, z.shape[1]) for name in ("s", "y")}
    state |= {"pairs": torch.zeros_like(rows), "pace": torch.ones_like(value), "tries": torch.zeros_like(rows)}
    return {**state, "way": _way(state), "done": _arrived(state, tolerance)}


def _settle(state: State, ahead: Tensor, value: Tensor, slope: Tensor, tolerance: float) -> State:
    """Take the step where the value falls enough; shorten it elsewhere, to the least of a parabola."""
    before, move = state["value"], ahead - state["z"]
    promised = (state["slope"] * move).sum(1)
    taken = (promised < 0) & (value <= before + ENOUGH * promised)
    hair = 10 * torch.finfo(value.dtype).eps * before.abs().clamp(min=1)
    share = (-promised / (2 * (value - before - promised))).nan_to_num(0.1, 0.1, 0.1).clamp(0.1, 0.5)
    after = {**state, "pairs": _remember(state, move, slope - state["slope"], taken)}
    after["z"], after["slope"] = where_rows(taken, ahead, state["z"]), where_rows(taken, slope, state["slope"])
    after["value"] = torch.where(taken, value, before)
    after["pace"] = torch.where(taken, 1.0, state["pace"] * share)
    after["tries"] = torch.where(taken, 0, state["tries"] + 1)
    after["way"] = where_rows(taken, _way(after), state["way"])
    little = torch.where(taken, before - value, promised.abs()) <= hair  # rounding has the last word from here on
    after["done"] = little | (after["tries"] > SHORTEST) | _arrived(after, tolerance)
    return after


def _arrived(state: State, tolerance: float) -> Tensor:
    step = (state["z"] - state["slope"]).clamp(state["low"], state["high"]) - state["z"]
    return step.abs().amax(1) <= tolerance


def _remember(state: State, s: Tensor, y: Tensor, taken: Tensor) -> Tensor:
    """Write the pair over the oldest in its row, in place; one along which the slope did not grow is left out."""
    fit = (taken & ((s * y).sum(1) > BEND * (y * y).sum(1))).nonzero().flatten()
    place = state["pairs"][fit] % state["s"].shape[1]
    state["s"][fit, place], state["y"][fit, place] = s[fit], y[fit]
    return state["pairs"].index_add(0, fit, torch.ones_like(fit))


def _way(state: State) -> Tensor:
    """Where to go, [n, d]: the guess of the inverse curvature times the slope, over the free values.

    Straight down where that leads up, or there is no pair yet.
    """
    z, slope, low, high = (state[name] for name in ("z", "slope", "low", "high"))
    free = ~(((z <= low) & (slope > 0)) | ((z >= high) & (slope < 0)))
    down = -slope * free
    short = 1 / down.square().sum(1).sqrt().clamp(min=1)
    way = _unbent(down, state, free, short) * free
    way = way.masked_fill(((z <= low) & (way < 0)) | ((z >= high) & (way > 0)), 0.0)
    return where_rows((way * down).sum(1) > 0, way, short[:, None] * down)


def _unbent(v: Tensor, state: State, free: Tensor, short: Tensor) -> Tensor:
    """The L-BFGS inverse times v [n, d], in the compact form of Byrd, Nocedal and Schnabel (1994).

    H v = g v + S w - g Y u, with R = triu(S^T Y), D its diagonal, u = R^-1 S^T v,
    w = R^-T ((D + g Y^T Y) u - g Y^T v), and g = s.y / y.y of the newest pair, or `short` where there is none.
    """
    oldest_first = (state["pairs"][:, None] + torch.arange(state["s"].shape[1], device=v.device)) % state["s"].shape[1]
    rows = torch.arange(len(v), device=v.device)[:, None]
    s, y = (state[name][rows, oldest_first] * free[:, None] for name in ("s", "y"))
    sy, yy = s @ y.mT, y @ y.mT
    fit = sy.diagonal(dim1=1, dim2=2) > BEND * yy.diagonal(dim1=1, dim2=2)
    s, y, both = s * fit[:, :, None], y * fit[:, :, None], fit[:, :, None] & fit[:, None, :]
    bend = torch.diag_embed(sy.diagonal(dim1=1, dim2=2) * fit)
    r = torch.where(both, sy, 0.0).triu() + torch.diag_embed((~fit).to(v.dtype))
    g = torch.where(fit[:, -1], sy[:, -1, -1] / yy[:, -1, -1], short)[:, None, None]
    v = v[:, :, None]
    u = torch.linalg.solve_triangular(r, s @ v, upper=True)
    w = torch.linalg.solve_triangular(r.mT, (bend + g * yy * both) @ u - g * (y @ v), upper=False)
    way: Tensor = g * v + s.mT @ w - g * (y.mT @ u)
    return way.squeeze(2)
