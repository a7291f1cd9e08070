"""One batch of an audit: the suite on the rows that still stand, the judge after each part, a proof for what held."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.attacks.base import Attack
from struthio.attacks.stream import out_of_memory
from struthio.attacks.suites import Part
from struthio.audit.findings import CLEAN, FAILED, Findings, begun, joined
from struthio.audit.heard import Heard, Refused
from struthio.audit.jury import Jury
from struthio.audit.proof import prove
from struthio.audit.setting import Setting
from struthio.goals import against
from struthio.rows import RowGenerator

FEW = 4  # rows that a part gets at least: where hardly any stand, sparing one of them saves nothing
Bars = tuple[float, ...]  # for each part, the margin from which on a row that still stands gets it
Say = Callable[[str], None]


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
        _together(setting, [part.bars for part in parts]),
        {row: text for part in parts for row, text in part.errors.items()},
    )


def _together(setting: Setting, several: list[Bars]) -> Bars:
    """What the halves of a batch learnt: each part is worth what any half found, the one for the last rows what all."""
    pairs = zip(setting.suite, zip(*several, strict=True), strict=True)
    return tuple(min(bars) if part.share else max(bars) for part, bars in pairs)


class _Batch:
    """The rows of one batch, and what is known of them so far."""

    def __init__(self, setting: Setting, ids: Tensor, x: Tensor, labels: Tensor, bars: Bars | None, say: Say) -> None:
        self.setting, self.x, self.labels, self.say = setting, x, labels, say
        self.given, self.bars = bars, list(bars or ())
        self.attacked = Heard(setting.attacked)
        self.generator = RowGenerator.seeded(setting.seed, ids.to(x.device))
        self.jury = Jury(setting, labels, self.generator)
        predicted, wrong, margin = self.jury.ask(x, slice(None), 0, clean=True)
        self.found = begun(ids, labels, predicted, wrong, margin, setting.draws)
        self.x_adv = x.clone()

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

        How near that is, is learnt where it is not given.
        """
        stand = self.found.held.nonzero().flatten()
        if self.given is not None:
            near = stand if part.share >= 1 else stand[self.found.margin[stand] >= self.given[number]]
            yield from [near] if len(near) else []
        elif part.share >= 1 or not len(stand):
            yield from [stand] if len(stand) else []
            self.bars.append(-math.inf)
        else:
            yield from self._outwards(part.share, stand) if part.share else self._last(stand)

    def _outwards(self, share: float, stand: Tensor) -> Iterator[Tensor]:
        """The share of the rows that is nearest to the border, a few at least; and as many again, farther out, as long
        as one of the outermost quarter fell. How far that was is remembered.
        """
        margins, order = self.found.margin[stand].sort(descending=True, stable=True)
        tried = 0
        for some in stand[order].split(max(FEW, math.ceil(share * len(stand)))):
            tried += len(some)
            yield some.sort().values
            if not bool(self.found.fell[some[3 * len(some) // 4 :]].any()):
                break
        self.bars.append(float(margins[tried - 1]) if tried < len(stand) else -math.inf)  # no row was too far

    def _last(self, stand: Tensor) -> Iterator[Tensor]:
        """All rows where no more than a few stand, and all of other batches if one fell: else those of them that are
        nearer to the border before it than any of these came.
        """
        if len(stand) > FEW:
            self.bars.append(math.inf)
            return
        yield stand
        fell, margins = self.found.fell[stand], self.found.margin[stand]
        self.bars.append(-math.inf if bool(fell.any()) else float(margins.max()))

    def _attack(self, attack: Attack, rows: Tensor, number: int) -> None:
        """Run one attack on some rows, judge what it found, and keep what is better."""
        there = rows.to(self.x.device)
        goal, threat = against(self.labels[there], self.setting.abstains), self.setting.threat[there]
        result = attack(self.attacked, self.x[there], goal, threat, self.generator[there].fold(number + 1))
        won, margin, forwards, predicted = result.success, result.score, result.forwards, result.predicted
        if not self.setting.exact:
            predicted, wrong, margin = self.jury.ask(result.x_adv, there, number + 1)
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
            _, won, _ = self.jury.ask(result.x_adv, there, number + 1)
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
            predicted, _, margin = self.jury.ask(self.x_adv[again], again, number + 2)
            found.fell[fresh], found.by[fresh], found.size[fresh] = True, number, size[where]
            found.predicted_adv[fresh], found.margin[fresh] = predicted.cpu(), margin.double().cpu()

    def _prove(self) -> None:
        """Try to prove that what held must hold."""
        setting, right = self.setting, self.found.correct & (self.found.by != CLEAN)
        if setting.certify == "none" or setting.draws > 1 or not bool(right.any()):
            return
        self.say("certificate")
        prove(setting, self.x, self.labels, self.found, right)

    def _suspect(self) -> None:
        """How suspicious the clean rows are, and the best inputs found about whose class the model is wrong."""
        found = self.found
        found.suspicion[:] = self.jury.suspicion(self.x, -1)[0]
        suspicion, wrong = self.jury.suspicion(self.x_adv, -2)
        adversarial = wrong & (found.by != CLEAN)
        found.suspicion_adv[adversarial] = suspicion[adversarial]
        found.forwards.add_(2 * self.setting.draws)


def _failed(setting: Setting, ids: Tensor, x: Tensor, labels: Tensor, bars: Bars | None, error: Exception) -> Done:
    """One row on which the model raises an error: it has fallen at size 0, and what was said is kept."""
    nothing, far = torch.full((1,), -1), torch.full((1,), math.nan)
    findings = begun(ids, labels, nothing, torch.tensor([True]), far, 1)
    findings.by[:] = FAILED
    text = str(error).splitlines()[0][:300]
    nothing_learnt = tuple(math.inf if part.share else -math.inf for part in setting.suite)
    return Done(findings, x.clone(), bars or nothing_learnt, {int(ids): text})
