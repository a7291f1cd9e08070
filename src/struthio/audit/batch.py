"""One batch of an audit: the suite on the rows that still stand, the judge after each part, a proof for what held."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.attacks.base import Attack, no_trace
from struthio.attacks.stream import out_of_memory
from struthio.attacks.suites import Part
from struthio.audit.findings import Findings, joined
from struthio.audit.heard import Heard, Refused
from struthio.audit.setting import Setting
from struthio.certify.certificate import certify
from struthio.goals import Untargeted, against
from struthio.losses import Margin
from struthio.rows import RowGenerator

NOBODY, CLEAN, FAILED = -1, -2, -3  # in Findings.by
HANDFUL = 8  # rows that are proved together
FEW = 4  # rows that a part gets at least: where hardly any stand, sparing one of them saves nothing
Bars = tuple[float, ...]  # for each part, the margin from which on a row that still stands gets it
Say = Callable[[str], None]


class Contradiction(AssertionError):
    """A row was proved to hold, and fell: one of the two is wrong, and no number of this audit can be trusted."""


@dataclass(frozen=True)
class Done:
    """A finished batch.

    Attributes:
        findings: one entry a row.
        x_adv: the best inputs found [n, ...]; the clean ones where nothing was tried.
        bars: what was used, or learnt, about the rows that each part is worth spending on.
        errors: what the model said on rows where it failed, by their ids.
    """

    findings: Findings
    x_adv: Tensor
    bars: Bars
    errors: dict[int, str]


def examine_batch(
    setting: Setting, ids: Tensor, x: Tensor, labels: Tensor, bars: Bars | None = None, say: Say = lambda part: None
) -> Done:
    """Audit some rows.

    A batch too large for the memory is halved until it fits. A row on which the model raises an error is set apart and
    the others go on.

    Args:
        setting: what was decided.
        ids: the numbers of the rows in the whole data, int64 [n].
        x: the rows [n, ...].
        labels: their classes, int64 [n].
        bars: from an earlier batch; None learns them from this one, in which a part goes beyond its share as long as
            rows fall out there.
        say: told the name of each part as it begins.
    """
    try:
        return _Batch(setting, ids, x, labels, bars, say).run()
    except (Refused, MemoryError, RuntimeError) as error:
        full = out_of_memory(error)
        if not (full or isinstance(error, Refused)) or (full and len(ids) == 1):
            raise
        if len(ids) == 1:
            return _failed(setting, ids, x, labels, bars, error)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    halves = zip(ids.chunk(2), x.chunk(2), labels.chunk(2), strict=True)
    parts = [examine_batch(setting, i, some, y, bars, say) for i, some, y in halves]
    return Done(
        joined([part.findings for part in parts]),
        torch.cat([part.x_adv for part in parts]),
        tuple(min(pair) for pair in zip(*(part.bars for part in parts), strict=True)),
        {row: text for part in parts for row, text in part.errors.items()},
    )


class _Batch:
    """The rows of one batch, and what is known of them so far."""

    def __init__(self, setting: Setting, ids: Tensor, x: Tensor, labels: Tensor, bars: Bars | None, say: Say) -> None:
        self.setting, self.x, self.labels, self.say = setting, x, labels, say
        self.given, self.bars = bars, list(bars or ())
        self.judge, self.attacked = Heard(setting.judge), Heard(setting.attacked)
        self.generator = RowGenerator.seeded(setting.seed, ids.to(x.device))
        predicted, wrong, margin = self._ask(x, slice(None), 0, clean=True)
        self.x_adv, n = x.clone(), len(x)
        counts = torch.full((n,), setting.draws)
        self.found = Findings(
            ids=ids.cpu(),
            labels=labels.cpu(),
            predicted=predicted.cpu(),
            fell=wrong.cpu(),
            by=torch.where(wrong, CLEAN, NOBODY).cpu(),
            predicted_adv=predicted.cpu().clone(),
            size=torch.where(wrong, 0.0, math.inf).double().cpu(),
            margin=margin.double().cpu(),
            smallest=torch.full((n,), math.nan, dtype=torch.float64),
            certified=torch.zeros(n, dtype=torch.bool),
            suspicion=torch.full((n,), math.nan, dtype=torch.float64),
            suspicion_adv=torch.full((n,), math.nan, dtype=torch.float64),
            forwards=counts,
            backwards=torch.zeros(n, dtype=torch.int64),
        )

    def run(self) -> Done:
        for number, part in enumerate(self.setting.suite):
            for rows in self._circles(number, part):
                self.say(part.name)
                self._attack(part.attack, rows, number)
        self._look_for_the_smallest()
        self._prove()
        if self.setting.abstains:
            self._suspect()
        return Done(self.found, self.x_adv, tuple(self.bars), {})

    def _circles(self, number: int, part: Part) -> Iterator[Tensor]:
        """The rows that this part gets, of those that still stand: all that are near enough to the border.

        Where it is not known yet how near that is, the part's share of them, a few at least; and as many again, farther
        out, as long as one of the outermost quarter fell. How far that was is remembered.
        """
        stand = self.found.held.nonzero().flatten()
        if self.given is not None and part.share < 1:
            stand = stand[self.found.margin[stand] >= self.given[number]]
        if self.given is not None or part.share >= 1 or not len(stand):
            yield from [stand] if len(stand) else []
            self.bars += [-math.inf] if self.given is None else []
            return
        margins, order = self.found.margin[stand].sort(descending=True, stable=True)
        tried = 0
        for some in stand[order].split(max(FEW, math.ceil(part.share * len(stand)))):
            tried += len(some)
            yield some.sort().values
            if not bool(self.found.fell[some[3 * len(some) // 4 :]].any()):
                break
        self.bars.append(float(margins[tried - 1]) if tried < len(stand) else -math.inf)  # no row was too far

    def _attack(self, attack: Attack, rows: Tensor, number: int) -> None:
        """Run one attack on some rows, judge what it found, and keep what is better."""
        there = rows.to(self.x.device)
        goal, threat = against(self.labels[there], self.setting.abstains), self.setting.threat[there]
        result = attack(self.attacked, self.x[there], goal, threat, self.generator[there].fold(number + 1))
        won, margin, forwards, predicted = result.success, result.score, result.forwards, result.predicted
        if not self.setting.exact:
            predicted, wrong, margin = self._ask(result.x_adv, there, number + 1)
            won, forwards = wrong & threat.allows(self.x[there], result.x_adv), forwards + self.setting.draws
        won, margin = won.cpu(), margin.double().cpu()
        self.found.forwards[rows] += forwards.cpu()
        self.found.backwards[rows] += result.backwards.cpu()
        better = won | (margin > self.found.margin[rows])
        some = rows[better]
        self.x_adv[there[better.to(there.device)]] = result.x_adv[better.to(there.device)]
        self.found.margin[some] = margin[better]
        self.found.predicted_adv[some] = predicted.cpu()[better]
        self.found.fell[rows[won]] = True
        self.found.by[rows[won]] = number
        self.found.size[rows[won]] = result.size.double().cpu()[won]

    def _look_for_the_smallest(self) -> None:
        """On the first rows of the data, the smallest change at any radius; one within the radius counts as a win."""
        setting, found = self.setting, self.found
        if setting.ladder is None:
            return
        rows = ((found.ids < setting.ladder_rows) & found.correct & (found.by != CLEAN)).nonzero().flatten()
        found.smallest[(found.ids < setting.ladder_rows) & (found.by == CLEAN)] = 0.0
        if not len(rows):
            return
        self.say("smallest change")
        there = rows.to(self.x.device)
        goal, free = against(self.labels[there], setting.abstains), setting.threat[there].at(math.inf)
        number = len(setting.suite)
        result = setting.ladder(self.attacked, self.x[there], goal, free, self.generator[there].fold(number + 1))
        won = result.success
        if not setting.exact:
            _, won, _ = self._ask(result.x_adv, there, number + 1)
        within = won & setting.threat[there].allows(self.x[there], result.x_adv)
        won, within, size = won.cpu(), within.cpu(), result.size.double().cpu()
        found.forwards[rows] += result.forwards.cpu()
        found.backwards[rows] += result.backwards.cpu()
        found.smallest[rows] = torch.minimum(torch.where(won, size, math.inf), found.size[rows])
        fresh = rows[within & found.held[rows]]
        if len(fresh):
            again = fresh.to(self.x.device)
            where = (rows[:, None] == fresh).nonzero()[:, 0]
            self.x_adv[again] = result.x_adv[where.to(self.x.device)]
            predicted, _, margin = self._ask(self.x_adv[again], again, number + 2)
            found.fell[fresh], found.by[fresh], found.size[fresh] = True, number, size[where]
            found.predicted_adv[fresh], found.margin[fresh] = predicted.cpu(), margin.double().cpu()

    def _prove(self) -> None:
        """Try to prove that what held must hold: rows farthest from the border first, until a handful all fail.

        A few rows that fell are tried too, since none of them may be proved.
        """
        setting, found = self.setting, self.found
        right = found.correct & (found.by != CLEAN)
        if setting.certify == "none" or setting.draws > 1 or not bool(right.any()):
            return
        self.say("certificate")
        self._prove_some((right & found.fell).nonzero().flatten()[:HANDFUL])
        held = (right & found.held).nonzero().flatten()
        for some in held[found.margin[held].sort(stable=True).indices].split(HANDFUL):
            if not self._prove_some(some):
                break

    def _prove_some(self, rows: Tensor) -> bool:
        """Whether any of these rows is proved to hold."""
        if not len(rows):
            return False
        setting, there = self.setting, rows.to(self.x.device)
        proof = certify(setting.judge, self.x[there], self.labels[there], setting.threat[there], setting.certify)
        self.found.certified[rows] = proof.certified.cpu()
        wrong = self.found.ids[self.found.certified & self.found.fell].tolist()
        if wrong:
            raise Contradiction(
                f"rows {wrong[:5]} were proved to hold under {setting.threat}, and fell. One of the two is a mistake "
                "of Struthio: please report it with the model. Nothing of this audit should be trusted."
            )
        return bool(proof.certified.any())

    def _suspect(self) -> None:
        """How suspicious the clean rows are, and the best inputs found about whose class the model is wrong."""
        found = self.found
        found.suspicion[:] = self._suspicion(self.x, -1)[0]
        suspicion, wrong = self._suspicion(self.x_adv, -2)
        adversarial = wrong & (found.by != CLEAN)
        found.suspicion_adv[adversarial] = suspicion[adversarial]
        found.forwards.add_(2 * self.setting.draws)

    @torch.no_grad()
    def _suspicion(self, x: Tensor, draw: int) -> tuple[Tensor, Tensor]:
        """How far abstaining is above the strongest class, the mean of all draws, and whether most say a wrong one."""
        with no_trace(self.generator.fold(10_000 + draw)):
            answers = torch.stack([self.judge(x) for _ in range(self.setting.draws)])
        classes, abstaining = answers[..., :-1], answers[..., -1]
        suspicion = (abstaining - classes.amax(2)).double().mean(0)
        return suspicion.cpu(), (classes.argmax(2).mode(0).values != self.labels).cpu()

    @torch.no_grad()
    def _ask(self, x: Tensor, rows: Tensor | slice, draw: int, clean: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """The judge's class (that of most draws), whether it is wrong, and the mean margin, [n] each.

        A clean row on which the model abstains is wrong too; an adversarial one is not.
        """
        labels, setting = self.labels[rows], self.setting
        goal = against(labels, setting.abstains)
        wrongly = Untargeted(labels) if clean else goal
        if setting.draws == 1:
            outputs = self.judge(x)
            if clean:
                _say_something(outputs)
            return outputs.argmax(1), wrongly.success(outputs), goal.score(Margin(), outputs)
        with no_trace(self.generator[rows].fold(10_000 + draw)):
            answers = [self.judge(x) for _ in range(setting.draws)]
        if clean:
            _say_something(torch.stack(answers).nanmean(0))
        answered = torch.stack([~one.isnan().any(1) for one in answers]).any(0)
        classes = torch.stack([one.argmax(1) for one in answers]).mode(0).values
        margin = torch.stack([goal.score(Margin(), one) for one in answers]).mean(0)
        unnoticed = True if clean or not setting.abstains else classes != answers[0].shape[1] - 1
        return classes, (classes != labels) & answered & unnoticed, margin


def _say_something(outputs: Tensor) -> None:
    """Refuse clean rows on which the model says NaN, which is no class at all."""
    if bool(outputs.isnan().any()):
        raise Refused("the scores hold NaN")


def _failed(setting: Setting, ids: Tensor, x: Tensor, labels: Tensor, bars: Bars | None, error: Exception) -> Done:
    """One row on which the model raises an error: it has fallen at size 0, and what was said is kept."""
    nothing = torch.full((1,), -1)
    findings = Findings(
        ids=ids.cpu(), labels=labels.cpu(), predicted=nothing, fell=torch.tensor([True]), by=torch.tensor([FAILED]),
        predicted_adv=nothing, size=torch.zeros(1).double(), margin=torch.full((1,), math.nan).double(),
        smallest=torch.full((1,), math.nan).double(), certified=torch.tensor([False]),
        suspicion=torch.full((1,), math.nan).double(), suspicion_adv=torch.full((1,), math.nan).double(),
        forwards=torch.ones(1).long(), backwards=torch.zeros(1).long(),
    )  # fmt: skip
    text = str(error).splitlines()[0][:300]
    return Done(findings, x.clone(), bars or (math.inf,) * len(setting.suite), {int(ids): text})
