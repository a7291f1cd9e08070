"""What every detector promises: `check_detector(MyDetector)` tries it, `detector_promises()` lists it for pytest."""

from __future__ import annotations

import copy
import functools
import inspect
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio.attacks import adaptive
from struthio.attacks.pgd import PGD
from struthio.checks import UserError
from struthio.detectors.base import Detector
from struthio.detectors.guarded import Guarded
from struthio.detectors.roc import auc
from struthio.goals import Untargeted
from struthio.shares import interval
from struthio.testing.models import small_inputs, small_net
from struthio.testing.require import off, require
from struthio.testing.traces import changed, snapshot
from struthio.threats import Linf

Make = Callable[[], Detector]
Promise = Callable[[Make], None]
ROWS, CLASSES, SEED, FPR = 450, 5, 7, 0.1


@dataclass(frozen=True)
class Small:
    """A small trained network in float64, with clean rows to learn from, adversarial ones, and others set apart."""

    net: nn.Module
    x: Tensor
    y: Tensor
    x_adv: Tensor
    apart: Tensor
    apart_adv: Tensor

    def taught(self, detector: Detector, net: nn.Module) -> Detector:
        """Fitted, with adversarial rows only where it needs them."""
        return detector.fit(net, self.x, self.y, self.x_adv if detector.supervised else None, SEED)

    def calibrated(self, detector: Detector) -> Detector:
        """With its line drawn."""
        return detector.calibrate(self.apart[:300], FPR, SEED)


@functools.cache
def small() -> Small:
    """Five patterns under noise, told apart by a network; PGD makes the adversarial rows."""
    patterns, generator = small_inputs(CLASSES, seed=11), torch.Generator().manual_seed(SEED)
    y = torch.randint(CLASSES, (ROWS + 600,), generator=generator)
    noise = 0.05 * torch.randn(len(y), *patterns.shape[1:], generator=generator, dtype=torch.float64)
    x = (0.4 * patterns[y] + 0.3 + noise).clamp(0, 1)
    net = small_net()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for part in net.modules():  # smaller weights, which can be trained on
            getattr(part, "reset_parameters", lambda: None)()
    optimizer = torch.optim.Adam([one for one in net.parameters() if one.requires_grad], 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(net(x[:ROWS]), y[:ROWS]).backward()
        optimizer.step()
    attack = PGD(steps=10, step=0.2, random_start=False)  # to just beyond the border
    x_adv = attack(net, x[: ROWS + 100], Untargeted(y[: ROWS + 100]), Linf(0.2)).x_adv
    return Small(net, x[:ROWS], y[:ROWS], x_adv[:ROWS], x[ROWS:], x_adv[ROWS:])


@dataclass(frozen=True)
class Tried:
    """A fitted detector, how it was made, and the rows around it."""

    make: Make
    detector: Detector
    at: Small

    def ask(self, x: Tensor, detector: Detector | None = None) -> Tensor:
        """The scores, from the same state of torch's random numbers every time."""
        torch.manual_seed(SEED)
        with torch.no_grad():
            return (self.detector if detector is None else detector).score(x)

    @functools.cached_property
    def usual(self) -> Tensor:
        """The scores of clean rows that neither the detector nor its line was made from."""
        return self.ask(self.at.apart[300:])

    @functools.cached_property
    def again(self) -> tuple[Detector, nn.Module, list[str]]:
        """Fitted once more, to a copy of the network; that copy; and what this changed in it, in rows and process."""
        at, net = self.at, copy.deepcopy(self.at.net)
        before = snapshot(net, at.x, at.y, at.x_adv, at.apart)
        detector = at.calibrated(at.taught(self.make(), net))
        return detector, net, changed(before, snapshot(net, at.x, at.y, at.x_adv, at.apart))


@functools.lru_cache(maxsize=2)
def _tried(make: Make) -> Tried:
    at = small()
    return Tried(make, at.calibrated(at.taught(make(), at.net)), at)


def _promised(check: Callable[[Tried], None]) -> Promise:
    @functools.wraps(check)
    def promise(make: Make) -> None:
        with torch.random.fork_rng(devices=[]):
            check(_tried(make))

    return promise


@_promised
def gives_a_score_for_each_row(tried: Tried) -> None:
    """Scores are finite, [n], of the dtype of x, which is not changed; one row gets one, also a blank one."""
    x = tried.at.apart[:8]
    before = x.clone()
    score = tried.ask(x)
    require(score.shape == (8,), f"scores of shape {tuple(score.shape)} for 8 rows")
    require(score.isfinite().all(), "scores hold NaN or infinity")
    require(score.dtype == x.dtype, f"scores are {score.dtype} for inputs of {x.dtype}")
    require(torch.equal(x, before), "the input was changed")
    for blank in (torch.zeros_like(x[:1]), torch.ones_like(x[:1])):
        score = tried.ask(blank)
        require(score.shape == (1,), f"a score of shape {tuple(score.shape)} for a single row")
        require(score.isfinite().all(), "a blank row has no finite score")


@_promised
def finds_the_adversarial_rows_more_suspicious(tried: Tried) -> None:
    """Higher is more suspicious: adversarial rows lie above clean ones more often than by chance."""
    area = auc(tried.usual, tried.ask(tried.at.apart_adv))
    require(area > 0.5, f"the area under the ROC curve is {area:.3f}; by chance it is 0.5")


@_promised
def keeps_its_false_positive_rate(tried: Tried) -> None:
    """On clean rows set apart, the share flagged agrees with the rate asked for; ties may only make it smaller."""
    score = tried.usual
    flagged, of = int((score > tried.detector.threshold).sum()), len(score)
    low, high = interval(flagged, of, 0.999)  # the threshold comes from a sample too
    require(low <= FPR, f"{flagged} of {of} clean rows are flagged, for a rate of {FPR:g}")
    if len(score.unique()) > 0.9 * of:
        require(high >= FPR, f"only {flagged} of {of} clean rows are flagged, for a rate of {FPR:g}")


@_promised
def judges_each_row_alone(tried: Tried) -> None:
    """A batch of n gets the scores of n batches of one, where the detector is not random."""
    if tried.detector.random:
        return
    x = tried.at.apart_adv[:6]
    together, alone = tried.ask(x), torch.cat([tried.ask(row) for row in x.split(1)])
    near = 1e-6 * (1 + together.abs().max())
    require(off(together, alone) <= near, f"scores change by {off(together, alone):.2g} with the other rows")


@_promised
def says_whether_it_is_random(tried: Tried) -> None:
    """Scores differ between calls exactly where `random` is declared; others draw no numbers at all."""
    x = tried.at.apart[:8]
    torch.manual_seed(SEED)
    before = torch.get_rng_state()
    with torch.no_grad():
        first, second = tried.detector.score(x), tried.detector.score(x)
    differs = not torch.equal(first, second)
    require(differs == tried.detector.random, f"random is {tried.detector.random}, but two calls " + (
        "differ" if differs else "are the same"))  # fmt: skip
    drew = not torch.equal(before, torch.get_rng_state())
    require(drew == tried.detector.random, "numbers are drawn though it does not declare itself random")


@_promised
def is_the_same_for_the_same_generator(tried: Tried) -> None:
    """Fitted again with the same generator it gives the same scores."""
    again, _, _ = tried.again
    require(torch.equal(tried.ask(tried.at.apart[:8]), tried.ask(tried.at.apart[:8], again)), "scores differ")
    require(torch.equal(tried.detector.threshold, again.threshold), "thresholds differ")


@_promised
def leaves_no_trace(tried: Tried) -> None:
    """Fitting, with adversarial rows only where it needs them, drawing the line, and judging change nothing else."""
    detector, net, left = tried.again
    require(not left, f"fit and calibrate changed: {', '.join(sorted(left))}")
    at = tried.at
    x = at.apart[:4].clone().requires_grad_()
    before = snapshot(net, at.x, at.y, at.x_adv)
    detector.score(x).sum()
    left = [name for name in changed(before, snapshot(net, at.x, at.y, at.x_adv)) if "random state" not in name]
    require(not left, f"score changed: {', '.join(sorted(left))}")


@_promised
def survives_storing(tried: Tried) -> None:
    """A stored state brings back the same scores and the same threshold, and fits no other detector."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.safetensors"
        tried.detector.save(path)
        before = torch.get_rng_state()
        again = tried.make().load(path, tried.at.net)
        refused = _refuses(lambda: _Other().load(path, tried.at.net))
    require(torch.equal(before, torch.get_rng_state()), "loading changed torch's random state")
    require(torch.equal(tried.ask(tried.at.apart_adv), tried.ask(tried.at.apart_adv, again)), "scores differ")
    require(torch.equal(tried.detector.threshold, again.threshold), "the threshold is lost")
    require(torch.equal(tried.detector.spread, again.spread), "the spread is lost")
    require(refused, "its file is taken by another detector")


@_promised
def survives_as_a_state_dict(tried: Tried) -> None:
    """Behind `Guarded`, plain tensors bring back model and detector, where neither knows anything yet."""
    first, held = Guarded(tried.at.net, tried.detector), io.BytesIO()
    torch.save(first.state_dict(), held)
    net = copy.deepcopy(tried.at.net).train()
    with torch.no_grad():
        for value in net.parameters():
            value.zero_()
    again = Guarded(net, tried.make())
    again.load_state_dict(torch.load(io.BytesIO(held.getvalue()), weights_only=True))
    x, outputs = tried.at.apart_adv[:8], []
    for guarded in (first, again.eval()):
        torch.manual_seed(SEED)
        with torch.no_grad():
            outputs.append(guarded(x))
    require(torch.equal(*outputs), "answers differ")


@_promised
def guards_a_model(tried: Tried) -> None:
    """Behind `Guarded`, abstaining wins exactly where a row is flagged, and the classes are the model's."""
    guarded, x = Guarded(tried.at.net, tried.detector), torch.cat([tried.at.apart[:60], tried.at.apart_adv[:60]])
    with torch.no_grad():
        torch.manual_seed(SEED)
        outputs = guarded(x)
        logits = tried.at.net(x)
    flagged = tried.ask(x) > tried.detector.threshold
    require(off(outputs[:, :-1], logits) <= 1e-9, "the first columns are not the model's")
    require(torch.equal(outputs.argmax(1) == CLASSES, flagged), "the last column does not win where a row is flagged")


@_promised
def can_be_attacked(tried: Tried) -> None:
    """Through the stand-ins that its parts declare, the score has a finite slope, not zero, at adversarial rows."""
    guarded, _ = adaptive(Guarded(tried.at.net, tried.detector), PGD(steps=1))
    x = tried.at.apart_adv[:20].clone().requires_grad_()
    torch.manual_seed(SEED)
    outputs = guarded(x)
    (slope,) = torch.autograd.grad((outputs[:, -1] - outputs[:, :-1].amax(1)).sum(), x)
    require(slope.isfinite().all(), "slopes hold NaN or infinity")
    flat = int((slope.flatten(1) == 0).all(1).sum())
    require(flat <= 5, f"the slope of {flat} of 20 rows is zero; declare a stand_in for the part that hides it")


@_promised
def says_what_it_needs(tried: Tried) -> None:
    """Without adversarial rows, a detector that needs them says so."""
    if tried.detector.supervised:
        at = tried.at
        require(_refuses(lambda: tried.make().fit(at.net, at.x, at.y)), "it is fitted without adversarial rows")


@_promised
def is_documented(tried: Tried) -> None:
    """The paper is named, and the docstring tells every option."""
    kind = type(tried.detector)
    require(bool(getattr(kind, "paper", "")), "no paper is named")
    text = inspect.getdoc(kind) or ""
    options = list(inspect.signature(kind).parameters)
    missing = [name for name in options if f"{name}: " not in text]
    require(not missing, f"the docstring does not explain {', '.join(missing)}")


class _Other(Detector):
    """Takes no other detector's file."""

    paper = "nobody"


def _refuses(call: Callable[[], Any]) -> bool:
    try:
        call()
    except UserError:
        return True
    return False


_PROMISES: list[Promise] = [
    gives_a_score_for_each_row,
    finds_the_adversarial_rows_more_suspicious,
    keeps_its_false_positive_rate,
    says_whether_it_is_random,
    judges_each_row_alone,
    is_the_same_for_the_same_generator,
    leaves_no_trace,
    survives_storing,
    survives_as_a_state_dict,
    guards_a_model,
    can_be_attacked,
    says_what_it_needs,
    is_documented,
]


def detector_promises() -> list[Promise]:
    """Every promise as a function of a detector's class, or of a function that makes one; each raises BrokenPromise."""
    return list(_PROMISES)


def check_detector(make: Make) -> None:
    """Try every promise on a detector. Raises BrokenPromise at the first that breaks.

    Args:
        make: its class, or a function without arguments that makes one. It is fitted to a small network in float64, on
            450 pictures [3, 8, 8] of five classes, with as many adversarial rows.
    """
    for promise in _PROMISES:
        promise(make)
