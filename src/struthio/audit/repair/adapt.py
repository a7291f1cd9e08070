"""Repairs what the doubts name, one thing after another: mode, parts, logits, slopes, chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from struthio.attacks.base import no_trace
from struthio.audit.doubts.answers import in_training, saturated
from struthio.audit.doubts.kinds import Doubt
from struthio.audit.doubts.parts import blind_parts
from struthio.audit.doubts.precision import beyond_rounding
from struthio.audit.doubts.probe import Probe, probe, untouched
from struthio.audit.doubts.slopes import slopes
from struthio.audit.repair.adapted import Adapted
from struthio.audit.repair.draws import steady_draws, steady_samples
from struthio.audit.repair.logits import BeforeSoftmax, Rescaled
from struthio.audit.repair.stand_ins import Instead, replaced
from struthio.audit.repair.training import settled
from struthio.audit.repair.trial import ENOUGH, NOTHING, ROWS, Candidate, Tried, by_chance, trial
from struthio.failed import Failed
from struthio.gradients import Autograd, Averaged, Estimated, Smoothed
from struthio.losses import CrossEntropy, Margin
from struthio.models import declared, with_stand_ins
from struthio.rows import RowGenerator, as_generator
from struthio.types import Gradient, Loss, Model, Threat


def adapt(
    model: Model,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    doubts: tuple[Doubt, ...],
    generator: int | RowGenerator = 0,
    stand_ins: Mapping[str, Instead] | None = None,
) -> Adapted:
    """Repair what the doubts name, so that attacks by slope can do their work.

    A part may say what to do in two attributes: `stand_in`, what its gradient is to be taken of, and `random = True`.

    Args:
        model: as given to `examine`; it is left as it is.
        x: the same rows [n, ...].
        labels: their classes [n].
        threat: what may change.
        doubts: what `examine` found.
        generator: a seed, or the rows' random numbers.
        stand_ins: from the name of a part to what its gradient is to be taken of (None: the identity), by hand.
    """
    rows = as_generator(generator, x)
    with untouched(model), no_trace(rows):
        return _Repair(probe(model, x, labels, threat, rows), doubts).run(dict(stand_ins or {}))


class _Repair:
    """One repair after another, each on what the one before left."""

    def __init__(self, asked: Probe, doubts: tuple[Doubt, ...]) -> None:
        self.doubts = {doubt.name: doubt for doubt in doubts}
        self.asked, self.model = asked, asked.model
        self.gradient: Gradient = Autograd()
        self.loss: Loss = CrossEntropy()
        self.draws, self.queries = 1, False
        self.log: list[str] = []
        self.tries: dict[Gradient, tuple[Tried, Tensor]] = {}

    def run(self, stand_ins: dict[str, Instead]) -> Adapted:
        self._settle()
        judge = self.model
        if "constant-answers" in self.doubts:
            self._done("A few questions are put about each row, and nothing more is tried.", "constant-answers")
            return self._adapted(judge)
        try:
            self._repair(stand_ins)
        except Failed as error:
            if "fails-nearby" not in self.doubts:
                raise
            self._done(f"Repair ended early: {error}", *self.doubts)
        return self._adapted(judge)

    def _repair(self, stand_ins: dict[str, Instead]) -> None:
        self._stand_in(stand_ins)
        self._rescale()
        if self.doubts:
            self._find_slope()
            if "random-outputs" in self.doubts or not self.queries:
                reached, x_adv = self._try(self.gradient)
                self.queries |= reached <= by_chance(self.asked)
            if "random-outputs" in self.doubts:
                self._vote(x_adv)
            if self.queries:
                self._done("Slopes are not to be relied on, so attacks by queries are run on every row.", *self.doubts)

    def _adapted(self, judge: Model) -> Adapted:
        doubts = tuple(self.doubts.values())
        return Adapted(self.model, judge, self.gradient, self.loss, self.draws, self.queries, tuple(self.log), doubts)

    def _try(self, gradient: Gradient) -> tuple[Tried, Tensor]:
        """What a short attack on the repaired model reaches by a slope; asked once for each."""
        if gradient not in self.tries:
            self.tries[gradient] = trial(self.asked, Candidate(self.model, gradient))
        return self.tries[gradient]

    def _done(self, what: str, *names: str) -> None:
        self.log.append(what)
        for name in set(names) & set(self.doubts):
            doubt = self.doubts[name]
            self.doubts[name] = replace(doubt, remedy=f"{doubt.remedy} {what}".strip())

    def _settle(self) -> None:
        if isinstance(self.model, nn.Module) and in_training(self.model):
            self.model, what = settled(self.model)
            self.asked = replace(self.asked, model=self.model)
            self._done(what, "training-mode", "batch-dependent")

    def _stand_in(self, given: dict[str, Instead]) -> None:
        names = ("gradient-free-part", "no-gradient", "zero-gradient", "shattered-gradient", "random-direction")
        if not isinstance(self.model, nn.Module):
            return
        known = {**declared(self.model), **given}
        if known:
            self.model = with_stand_ins(self.model, known)
            what = ", ".join(f"{name!r} ({'by hand' if name in given else 'its own'})" for name in known)
            self._done(f"Stand-ins take the gradient of {what}.", *names)
        if set(names) & set(self.doubts):
            twin = replace(self.asked, model=self.model)
            self.model, log = replaced(self.asked, self.model, blind_parts(twin))
            for what in log:
                self._done(what, *names)

    def _rescale(self) -> None:
        names = ("probabilities", "saturated", "zero-gradient", "shattered-gradient", "random-direction")
        if "probabilities" in self.doubts:
            self.model = BeforeSoftmax(self.model)
            self._done("Attacks see the logits before the softmax (or the logarithms of the probabilities).", *names)
        outputs = replace(self.asked, model=self.model).ask(self.asked.x)
        top = outputs.topk(2, dim=1).values
        gap = float((top[:, 0] - top[:, 1]).median())
        if float(saturated(outputs).float().mean()) > 0.05 and gap > 0:
            self.model = Rescaled(self.model, gap / 5)
            self._done(f"Logits are divided by {gap / 5:.3g}, so that the strongest two are about 5 apart.", *names)
        if {"probabilities", "saturated"} & set(self.doubts):
            self.loss = Margin()
            self._done("The loss is the margin, which cannot saturate.", *names)

    def _find_slope(self) -> None:
        """Look at the slopes of the repaired model again, and mend what is left."""
        twin = replace(self.asked, model=self.model)
        left = {doubt.name for doubt in beyond_rounding(slopes, twin)}
        if "no-gradient" in left:
            self.gradient = Estimated(sigma=0.1 * self._length())
            self.queries = True
            self._done("No gradient arrives, so slopes are estimated from answers.", "no-gradient")
        elif left or "unstable-answers" in self.doubts:
            self._smooth()
        if "random-outputs" in self.doubts:
            self._average(twin)

    def _length(self) -> float:
        """How far a value may move, as a scale for noise."""
        eps = torch.as_tensor(self.asked.threat.eps, dtype=torch.float64)
        linf = getattr(self.asked.threat, "p", None) == torch.inf
        return float(eps.median()) if linf else 0.1 * float(self.asked.x.abs().max())

    def _smooth(self) -> None:
        """Take the slope's mean over noise, or an estimate from answers, where a short attack does better with it."""
        trials: dict[str, Gradient] = {"the slope itself": Autograd()}
        for share in (0.1, 0.3):
            sigma = share * self._length()
            trials[f"its mean over noise of {sigma:.2g}"] = Smoothed(sigma=sigma)
        trials[f"an estimate from answers {sigma:.2g} away"] = Estimated(sigma=sigma)
        name, best = "", NOTHING
        for trying, slope in trials.items():
            tried = self._try(slope)[0]
            if tried.fell > best.fell + 0.05:  # those that come later cost far more
                name, best, self.gradient = trying, tried, slope
            if best.fell >= ENOUGH:
                break
        self.queries = best.fell < ENOUGH  # what is left may be robust, or hidden still
        self._done(
            f"Attacks follow {name or 'the slope itself'}: ten steps bring down {max(best.fell, 0):.0%} of a few rows.",
            "shattered-gradient", "random-direction", "unstable-answers", "zero-gradient", "nan-gradient",
        )  # fmt: skip

    def _average(self, twin: Probe) -> None:
        if not isinstance(self.gradient, Autograd):  # the others draw anew for every sample already
            return
        samples, agreed = steady_samples(twin.few(ROWS), self.gradient)
        self.gradient = Averaged(self.gradient, samples)
        self._done(
            f"Slopes are means over {samples} draws: two such means have a cosine of {agreed:.2f}.", "random-outputs"
        )

    def _vote(self, x_adv: Tensor) -> None:
        few = self.asked.few(len(x_adv))
        self.draws, agreed = steady_draws(few.model, x_adv, few.goal, few.generator)
        self._done(
            f"A row falls where most of {self.draws} fresh draws do: two such votes agree on {agreed:.0%} of the rows.",
            "random-outputs",
        )
