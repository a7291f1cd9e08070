"""Slow and exact answers to compare with: projections by a general solver, distances by linear programming."""

import itertools
import math

import numpy as np
from scipy.optimize import brentq, linprog, minimize


def nearest(d, eps, low, high, p):
    """The nearest point to d [k] with p-norm at most eps and low <= z <= high, by a root search or by trying all."""
    clip = lambda z: np.minimum(np.maximum(z, low), high)  # noqa: E731
    if p == math.inf:
        return np.array([min(max(v, lo, -eps), hi, eps) for v, lo, hi in zip(d, low, high, strict=True)])
    if p == 0:
        best = np.zeros_like(d)
        for kept in itertools.combinations(range(len(d)), min(int(min(eps, len(d))), len(d))):
            trial = np.zeros_like(d)
            trial[list(kept)] = clip(d)[list(kept)]
            # (v - z)^2 - v^2 = z (z - 2 v) without the cancellation that large v would bring
            if (trial * (trial - 2 * d)).sum() < (best * (best - 2 * d)).sum():
                best = trial
        return best
    if eps == 0:
        return np.zeros_like(d)
    if p == 2:
        shape, largest = (lambda t: clip(d / (1 + t))), np.abs(d).max() * math.sqrt(len(d)) / eps
    else:
        shape, largest = (lambda t: clip(np.sign(d) * np.maximum(np.abs(d) - t, 0))), np.abs(d).max()
    over = lambda t: np.linalg.norm(shape(t), p) - eps  # noqa: E731
    if over(0) <= 0:
        return shape(0)
    return shape(brentq(over, 0, largest * (1 + 1e-9) + 1e-300, xtol=1e-300, rtol=1e-15, maxiter=2000))


def nearest_by_solver(d, eps, low, high, p):
    """The same by sequential quadratic programming in the parts above and below zero, for small well-scaled d."""
    k = len(d)
    split = lambda z: z[:k] - z[k:]  # noqa: E731
    room = (lambda z: eps - z.sum()) if p == 1 else (lambda z: eps**2 - (split(z) ** 2).sum())
    found = minimize(
        lambda z: ((split(z) - d) ** 2).sum(),
        np.zeros(2 * k) + 1e-3 * eps / k,
        jac=lambda z: np.concatenate([2 * (split(z) - d), -2 * (split(z) - d)]),
        bounds=[(0, h) for h in high] + [(0, -lo) for lo in low],
        constraints={"type": "ineq", "fun": room},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return split(found.x)


def smallest_change_by_program(slope, need, room_down, room_up, p):
    """The least p-norm (1 or infinity) of z with slope . z >= need, -room_down <= z <= room_up, by linear programs."""
    k = len(slope)
    if p == 1:  # variables: the parts above and below zero
        cost, gain = np.ones(2 * k), np.concatenate([slope, -slope])[None]
        found = linprog(cost, -gain, [-need], bounds=[(0, u) for u in room_up] + [(0, v) for v in room_down])
    else:  # variables: z, and the bound on all of them
        cost = np.concatenate([np.zeros(k), [1]])
        gain = np.concatenate([slope, [0]])[None]
        below = np.hstack([np.eye(k), -np.ones((k, 1))])
        above = np.hstack([-np.eye(k), -np.ones((k, 1))])
        limits = [(-v, u) for v, u in zip(room_down, room_up, strict=True)] + [(0, None)]
        found = linprog(cost, np.vstack([-gain, below, above]), [-need] + [0] * 2 * k, bounds=limits)
    return found.fun if found.success else math.inf
