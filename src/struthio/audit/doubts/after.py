"""What speaks against a robustness number once the attacks have been run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from struthio.attacks.base import Attack
from struthio.attacks.best import Best
from struthio.audit.doubts.kinds import Doubt
from struthio.audit.doubts.precision import beyond_rounding
from struthio.audit.doubts.probe import Probe, probe
from struthio.audit.doubts.slopes import slopes
from struthio.audit.judge import majority
from struthio.data.numbering import in_words, renumbered
from struthio.goals import abstains
from struthio.gradients import Autograd, Averaged
from struthio.rows import RowGenerator, as_generator
from struthio.types import Model, Threat

ROWS = 16
NOISES = 200
AT_ONCE = 5  # few, so that sixteen photographs fit into memory
HOPEFUL = 40  # noises, after which a row goes on only
SPREADS = 3  # where so many times the spread that noise gave its score could still bring it down
SCALES = (0.5, 1.0, 2.0)  # of the radius


def from_wins(wins: Mapping[str, int], access: Mapping[str, str], rows: int) -> Iterator[Doubt]:
    """Doubts from which part of a suite won how many rows, where attacks by slope came first.

    A robust network has a row in a few hundred that falls to queries alone, so one win, or one in fifty, is no doubt.

    Args:
        wins: from the name of each part to the rows that it brought down and no part before it.
        access: from the name of each part to "gradients", "scores", "labels" or "transfer".
        rows: how many rows were attacked.
    """
    if next((kind for kind in access.values() if kind != "transfer"), None) != "gradients":
        return  # a model without gradient is asked first
    for name, kinds in (("queries-win", ("scores", "labels")), ("transfer-wins", ("transfer",))):
        winners = {part: count for part, count in wins.items() if count and access[part] in kinds}
        count = sum(winners.values())
        if count > max(1, 0.02 * rows):
            yield Doubt(
                name,
                f"{count} of {rows} rows fell to {' and '.join(winners)} after attacks by slope had failed on them.",
                numbers={"rows": count, "share": count / rows},
            )


def from_answers(answers: Mapping[tuple[int, int], int], names: Sequence[str] | None = None) -> Iterator[Doubt]:
    """Doubts from how often each label was answered each class, on clean rows.

    Args:
        answers: counts by (label, class).
        names: of the labels, where the data has some.
    """
    other = renumbered(answers)
    if other:
        yield Doubt(
            "other-numbering",
            f"With another numbering most clean rows would be right: {in_words(other, names)}. Renumber the one or the "
            "other, and audit anew.",
            numbers={"labels": len(other)},
        )


def from_curve(curve: Mapping[float, float], rows: int) -> Iterator[Doubt]:
    """Doubts from the accuracy left at each radius.

    Args:
        curve: from radius to the share of rows left, each measured on the same rows.
        rows: how many these are; a rise by one row, or by 2 %, is no doubt.
    """
    radii = sorted(curve)
    for smaller, larger in pairwise(radii):
        rise = curve[larger] - curve[smaller]
        if rise > max(1.5 / rows, 0.02):
            yield Doubt(
                "accuracy-rises",
                f"Accuracy is {curve[smaller]:.1%} at radius {smaller:.4g} and {curve[larger]:.1%} at {larger:.4g}.",
                numbers={"smaller": smaller, "larger": larger, "rise": rise},
            )
            return


def from_radii(
    model: Model,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    attack: Attack,
    generator: int | RowGenerator = 0,
    judge: Model | None = None,
    draws: int = 1,
) -> Iterator[Doubt]:
    """Run the attack on the first 16 rows at half the radius, at the radius and at twice, and look at the curve.

    Args:
        model: what was attacked.
        x: rows [n, ...] that the model gets right; none at all is no doubt.
        labels: their classes [n].
        threat: what may change.
        attack: the first attack by slope.
        generator: a seed, or the rows' random numbers.
        judge: the model on which success is decided; the one attacked where not given.
        draws: by how many fresh draws of it.
    """
    if not len(x):
        return
    asked = probe(model, x, labels, threat, as_generator(generator, x)).few(ROWS)
    held = _Held(asked.crowd(len(SCALES)), attack, model if judge is None else judge, draws)
    eps = torch.as_tensor(asked.threat.eps, dtype=asked.x.dtype, device=asked.x.device)
    widest = asked.threat.farthest(asked.x)
    radii = torch.cat([torch.minimum(scale * eps, widest) for scale in SCALES])
    fell = held.fell(attack, held.asked.threat.at(radii), 930).double().reshape(len(SCALES), -1).mean(1)
    sizes = [scale * float(eps.median()) for scale in SCALES]
    yield from from_curve(dict(zip(sizes, (1 - fell).tolist(), strict=True)), len(asked.x))


def reconsider(
    model: Model,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    attack: Attack,
    generator: int | RowGenerator = 0,
    judge: Model | None = None,
    draws: int = 1,
    times: int = 10,
) -> tuple[Doubt, ...]:
    """Look again at a few rows that held: at their slopes, under noise, with many times the steps, without a radius.

    On the first 16 rows: `attack` once without a radius and once with `times` its steps, and up to 230 forwards. The
    checklist of Carlini et al., 2019, arXiv 1902.06705, section 4.

    Args:
        model: what was attacked.
        x: rows [n, ...] that held; none at all is no doubt.
        labels: their classes [n].
        threat: what may change.
        attack: the attack by slope that they held against, as it was run.
        generator: a seed, or the rows' random numbers, others than the attack had.
        judge: the model on which success is decided; the one attacked where not given.
        draws: by how many fresh draws of it.
        times: how many times the steps of the attack.
    """
    if not len(x):
        return ()
    rows = as_generator(generator, x)
    judge = model if judge is None else judge
    asked = replace(probe(model, x, labels, threat, rows).few(ROWS), abstains=abstains(judge))
    held = _Held(asked, attack, judge, draws)
    return tuple(
        doubt for test in (held.slopes, held.noise, partial(held.steps, times), held.limit) for doubt in test()
    )


class _Held:
    """Rows that held, to be tried once more."""

    def __init__(self, asked: Probe, attack: Attack, judge: Model, draws: int) -> None:
        self.asked, self.attack, self.judge, self.draws = asked, attack, judge, draws
        self.goal = asked.goal

    def fell(self, attack: Attack, threat: Threat, draw: int) -> Tensor:
        """The rows that an attack brings down, bool [n]."""
        found = attack(self.asked.model, self.asked.x, self.goal, threat, self.asked.generator.fold(draw))
        return self._judged(found.x_adv, draw)

    def _judged(self, x_adv: Tensor, draw: int) -> Tensor:
        return majority(self.judge, x_adv, self.goal, self.draws, self.asked.generator.fold(draw + 1))

    def slopes(self) -> Iterator[Doubt]:
        """The slopes of the rows that held may be bad where those of all rows together are not."""
        if isinstance(getattr(self.attack, "gradient", Autograd()), (Autograd, Averaged)):
            yield from beyond_rounding(slopes, self.asked)

    def noise(self) -> Iterator[Doubt]:
        """The best of many random steps of the whole radius."""
        asked, zero = self.asked, self.asked.threat.zero(self.asked.x)
        best = Best(zero)
        rows = torch.arange(len(zero), device=zero.device)
        seen: list[Tensor] = []
        for draw in range(NOISES // AT_ONCE):
            if draw == HOPEFUL // AT_ONCE:
                rows = rows[best.score + SPREADS * torch.cat(seen).std(0) > 0]
            if not len(rows):
                break
            some = asked[rows]
            ways = some.generator.fold(1000 + draw).normal((AT_ONCE, *zero.shape[1:]), zero.dtype)
            crowd = some.crowd(AT_ONCE)
            z = crowd.step(ways.transpose(0, 1).flatten(0, 1), 1.0)
            scores = crowd.score(z, draw).reshape(AT_ONCE, -1)
            seen.append(scores)
            score, which = scores.max(0)
            chosen = which * len(rows) + torch.arange(len(rows), device=z.device)
            best.offer(rows, z[chosen], score, torch.zeros_like(score, dtype=torch.bool))
        fell = self._judged(asked.threat.apply(asked.x, best.value), 900)
        if bool(fell.any()):
            yield Doubt(
                "noise-wins",
                f"The best of {NOISES} random changes brought down {int(fell.sum())} of {len(fell)} rows that held.",
                numbers={"rows": int(fell.sum()), "of": len(fell)},
            )

    def steps(self, times: int) -> Iterator[Doubt]:
        """Many times the steps, from other random numbers."""
        steps = getattr(self.attack, "steps", None)
        if not isinstance(steps, int) or "steps" not in {option.name for option in fields(self.attack)}:
            return
        longer = replace(self.attack, steps=times * steps)  # type: ignore[call-arg]
        fell = self.fell(longer, self.asked.threat, 910)
        if int(fell.sum()) > max(1, 0.1 * len(fell)):
            yield Doubt(
                "more-steps-help",
                f"With {times * steps} steps in place of {steps}, {int(fell.sum())} of {len(fell)} rows fell.",
                numbers={"steps": times * steps, "rows": int(fell.sum()), "of": len(fell)},
            )

    def limit(self) -> Iterator[Doubt]:
        """The same attack within the limits of the input alone."""
        widest = self.asked.threat.farthest(self.asked.x)
        eps = torch.as_tensor(self.asked.threat.eps, dtype=widest.dtype, device=widest.device)
        far = torch.where(widest.isfinite(), widest, 10 * eps)
        fell = self.fell(self.attack, self.asked.threat.at(far), 920)
        left = int((~fell).sum())
        if left > max(1, 0.05 * len(fell)):
            yield Doubt(
                "accuracy-floor",
                f"Without a radius, {left} of {len(fell)} rows still hold against the same attack.",
                numbers={"left": left, "of": len(fell)},
            )
