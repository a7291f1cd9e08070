"""What every attack promises. `check_attack(MyAttack)` tries all of it; `attack_promises()` lists it for pytest."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch

from struthio.attacks.base import Attack
from struthio.checks import UserError
from struthio.describe import describe
from struthio.goals import Both, Drift, Targeted, Untargeted
from struthio.losses import Margin
from struthio.models import labels_only, scores_only
from struthio.rows import norm as length
from struthio.testing.models import exact_distance, linear_model, small_inputs
from struthio.testing.options import variants
from struthio.testing.require import BrokenPromise, off, require
from struthio.testing.settings import (
    BALLS,
    SEED,
    Setting,
    masked,
    norms_of,
    on_levels,
    once,
    plain,
    plainly,
    quick,
    settings,
)
from struthio.testing.traces import Counting, Failing, changed, snapshot
from struthio.threats import PIXELS


class Check(Protocol):
    """A promise: called with an attack or its class, and with norms where not all of its own are to be tried."""

    __name__: str

    def __call__(self, attack: Attack | type[Attack], norms: tuple[str, ...] | None = None) -> None:
        """Raise BrokenPromise where it is not kept."""
        ...


CLOSE = 1e-6  # how far beyond the radius and the limits rounding may carry a value
NORMS = {"linf": float("inf"), "l2": 2.0, "l1": 1.0, "l0": 0.0}
_PROMISES: list[Check] = []


def attack_promises(alternatives: Mapping[str, tuple[Any, ...]] | None = None) -> list[Check]:
    """Every promise as a function of an attack (or of its class), which raises BrokenPromise where it is not kept.

        @pytest.mark.parametrize("promise", attack_promises())
        def test_my_attack(promise):
            promise(MyAttack())

    Args:
        alternatives: other values for options, by name, where none can be guessed from the type: {"shape": ("round",)}.
    """
    options = functools.partial(every_option_changes_something, alternatives=alternatives)
    return [*_PROMISES, functools.wraps(every_option_changes_something)(options)]


def check_attack(attack: Attack | type[Attack], alternatives: Mapping[str, tuple[Any, ...]] | None = None) -> None:
    """Try every promise on an attack, in every norm that it declares. Raises BrokenPromise at the first that breaks.

    Args:
        attack: an attack, or its class, which is then tried with its default options. It is tried on small networks and
            with few steps.
        alternatives: as for `attack_promises`.
    """
    for promise in attack_promises(alternatives):
        promise(attack)


def _promise(where: Callable[[tuple[str, ...]], list[Setting]]) -> Callable[[Callable[[Attack, Setting], None]], Check]:
    """List a promise that is tried in the settings `where` makes of the attack's norms."""

    def listed(check: Callable[[Attack, Setting], None]) -> Check:
        @functools.wraps(check)
        def promise(attack: Attack | type[Attack], norms: tuple[str, ...] | None = None) -> None:
            made = quick(attack() if isinstance(attack, type) else attack)
            for setting in where(norms or norms_of(made)):
                try:
                    check(made, setting)
                except BrokenPromise as broken:
                    raise BrokenPromise(f"{describe(made)} in {setting.name}: {broken}") from None

        _PROMISES.append(promise)
        return promise

    return listed


@_promise(settings)
def stays_inside_the_threat_and_the_limits(attack: Attack, at: Setting) -> None:
    """No row leaves the ball or the limits by more than rounding."""
    x_adv = at.run(attack).x_adv
    size, eps = length(x_adv - at.x, NORMS[at.norm]), torch.as_tensor(at.threat.eps)
    require((size <= eps + CLOSE).all(), f"rows of size {size.tolist()} for radii {eps.tolist()}")
    low, high = float(x_adv.min()), float(x_adv.max())
    require(low >= at.box.low - CLOSE and high <= at.box.high + CLOSE, f"values reach from {low} to {high}")


@_promise(settings)
def changes_nothing_at_radius_zero(attack: Attack, at: Setting) -> None:
    """With a radius of 0 the inputs come back as they were."""
    x_adv = at.run(attack, threat=at.threat.at(0.0)).x_adv
    require(torch.equal(x_adv, at.x), f"values moved by up to {off(x_adv, at.x)}")


@_promise(lambda norms: [masked(norm) for norm in norms])
def leaves_alone_what_the_mask_protects(attack: Attack, at: Setting) -> None:
    """Values outside the mask are exactly as they were."""
    moved = (at.run(attack).x_adv != at.x) & ~at.threat.mask  # type: ignore[attr-defined]
    require(not moved.any(), f"{int(moved.sum())} protected values moved")


@_promise(lambda norms: [on_levels(norm) for norm in norms])
def keeps_to_the_levels(attack: Attack, at: Setting) -> None:
    """Results lie on the 256 levels of a saved picture."""
    places = at.run(attack).x_adv * 255
    require(off(places, places.round()) < 1e-9, f"values lie {off(places, places.round())} beside a level")


@_promise(settings)
def leaves_no_trace(attack: Attack, at: Setting) -> None:
    """The model, the arguments and all global state are as before."""
    at.model.register_forward_hook(lambda part, inputs, outputs: None)
    before = snapshot(at.model, at.x, at.goal, at.threat)
    at.run(attack)
    left = changed(before, snapshot(at.model, at.x, at.goal, at.threat))
    require(not left, f"changed: {', '.join(sorted(left))}")


@_promise(settings)
def leaves_no_trace_when_the_model_breaks(attack: Attack, at: Setting) -> None:
    """Also when the model raises in the middle, which the caller gets to see."""
    before = snapshot(at.model, at.x, at.goal, at.threat)
    try:
        at.run(attack, model=Failing(at.model, at=2))
    except RuntimeError as error:
        require("made to break" in str(error), f"the model's error became {error!r}")
    else:
        require(False, "the model's error was swallowed")
    left = changed(before, snapshot(at.model, at.x, at.goal, at.threat))
    require(not left, f"changed: {', '.join(sorted(left))}")


@_promise(settings)
def treats_every_row_alone(attack: Attack, at: Setting) -> None:
    """A batch of n equals n batches of one, and a shuffled batch gives the shuffled result."""
    whole = at.run(attack)
    order = torch.tensor([5, 2, 7, 0, 3, 6, 1, 4][-len(at.x) :]).argsort()
    for rows in (*torch.arange(len(at.x)).split(1), order):
        part = at[rows].run(attack)
        for name in ("x_adv", "size", "score", "success", "forwards", "backwards"):
            error = off(getattr(part, name), getattr(whole, name)[rows])
            require(error < 1e-9, f"{name} of rows {rows.tolist()} differs by {error} from that in the whole batch")


@_promise(plainly)
def answers_the_same_again(attack: Attack, at: Setting) -> None:
    """The same seed gives the same result, with gradients recorded or not, from a module or a function."""
    first = at.run(attack)
    with torch.no_grad():
        again = at.run(attack, model=lambda x: at.model(x))
    require(torch.equal(first.x_adv, again.x_adv), f"results differ by {off(first.x_adv, again.x_adv)}")


@_promise(settings)
def is_judged_from_outside(attack: Attack, at: Setting) -> None:
    """Success, size and score are those of x_adv on the model, and in the shape and precision of a Result."""
    result, n = at.run(attack), len(at.x)
    with torch.no_grad():
        outputs = at.model(result.x_adv)
    size = at.threat.size(at.x, result.x_adv)
    inside = size <= torch.as_tensor(at.threat.eps) + CLOSE
    require(torch.equal(result.success, at.goal.success(outputs) & inside), "success is not that of x_adv")
    require(off(result.size, size) == 0, "size is not that of x_adv")
    require(off(result.score, at.goal.score(Margin(), outputs)) < 1e-9, "score is not the margin at x_adv")
    for name in ("success", "size", "score", "forwards", "backwards"):
        require(getattr(result, name).shape == (n,), f"{name} has shape {tuple(getattr(result, name).shape)}")
    require(result.x_adv.dtype == at.x.dtype and not result.x_adv.requires_grad, "x_adv is not a plain tensor like x")


@_promise(settings)
def counts_every_query(attack: Attack, at: Setting) -> None:
    """Reported forwards and backwards are those that the model sees."""
    model = Counting(at.model)
    result = at.run(attack, model=model)
    for name in ("forwards", "backwards"):
        seen, said = getattr(model, name), int(getattr(result, name).sum())
        require(seen == said, f"{seen} {name} were made and {said} reported")


@_promise(settings)
def never_loses_a_win(attack: Attack, at: Setting) -> None:
    """Where the best is kept, a row is won if any point that the model was asked about wins it."""
    if not attack.improves:
        return
    for row in torch.arange(len(at.x)).split(1):
        one, model = at[row], Counting(at.model)
        result = one.run(attack, model=model)
        for asked in model.asked:
            allowed = one.threat.size(one.x, asked) <= torch.as_tensor(one.threat.eps) + CLOSE
            with torch.no_grad():
                won = one.goal.success(at.model(asked)) & allowed
            require(not won.any() or result.success.all(), f"row {int(row)} was won on the way, and is not in the end")


@_promise(plainly)
def is_not_hurt_by_more_steps(attack: Attack, at: Setting) -> None:
    """Where the best is kept and steps have one length, rows won in few steps are won in more."""
    options = {field.name for field in dataclasses.fields(attack)}
    if not attack.improves or not {"steps", "step"} <= options:
        return
    few = at.run(replace(attack, steps=3, step=0.2))  # type: ignore[call-arg]
    more = at.run(replace(attack, steps=12, step=0.2))  # type: ignore[call-arg]
    lost = (few.success & ~more.success).nonzero().flatten().tolist()
    require(not lost, f"rows {lost} are won in 3 steps and not in 12")


@_promise(plainly)
def serves_other_goals(attack: Attack, at: Setting) -> None:
    """A target, a drift from the clean answer and two goals at once are searched for, or refused in words."""
    with torch.no_grad():
        outputs = at.model(at.x)
    labels, second = outputs.argmax(1), outputs.topk(2, dim=1).indices[:, 1]
    goals = Targeted(second), Targeted(second, labels), Drift(outputs), Both(Untargeted(labels), Drift(outputs))
    for goal in goals:
        try:
            result = at.run(attack, goal=goal)
        except UserError:
            continue
        with torch.no_grad():
            won = goal.success(at.model(result.x_adv))
        require(torch.equal(result.success, won), f"success is not that of x_adv for {type(goal).__name__}")


@_promise(plainly)
def asks_no_more_than_it_declares(attack: Attack, at: Setting) -> None:
    """On a model that shows only scores or labels, an attack that needs no more answers the same; others refuse."""
    if attack.access == "gradients":
        if int(at.run(attack).backwards.sum()):
            _refused(attack, replace(at, model=scores_only(at.model)), "a model without gradient")
        return
    view = {"scores": scores_only, "labels": labels_only}[attack.access](at.model)
    same = torch.equal(at.run(attack).x_adv, at.run(attack, model=view).x_adv)
    require(same, f"it declares that it needs only {attack.access}, but answers otherwise when it has no more")


@_promise(plainly)
def refuses_what_cannot_be_meant(attack: Attack, at: Setting) -> None:
    """Arguments that cannot be meant raise UserError."""
    labels, x = at.goal.labels, at.x  # type: ignore[attr-defined]
    hole = x.clone()
    hole[1, 0, 0, 0] = torch.nan
    _refused(attack, replace(at, goal=Untargeted(labels[:-1])), "too few labels")
    _refused(attack, replace(at, goal=Untargeted(labels[:, None])), "labels of shape [n, 1]")
    _refused(attack, replace(at, goal=Untargeted(labels.double())), "labels that are no whole numbers")
    _refused(attack, replace(at, goal=Untargeted(labels + 5)), "labels that are no class of the model")
    _refused(attack, replace(at, goal=Targeted(labels, labels)), "targets equal to the labels")
    _refused(attack, replace(at, x=hole), "an input with NaN")
    _refused(attack, replace(at, x=x * 5), "an input beyond the limits")
    _refused(attack, replace(at, x=(x * 255).long()), "an input of whole numbers")
    for other in set(BALLS) - set(norms_of(attack)):
        _refused(attack, replace(at, threat=plain(other).threat), f"a threat in {other}, which it does not declare")


def _refused(attack: Attack, at: Setting, what: str) -> None:
    try:
        at.run(attack)
    except UserError:
        return
    except Exception as error:
        raise BrokenPromise(f"{what} led to {error!r}, not to UserError") from error
    raise BrokenPromise(f"{what} was not refused with UserError")


@_promise(plainly)
def wins_nothing_that_cannot_be_won(attack: Attack, at: Setting) -> None:
    """On a linear model, no row is won within 0.98 of its exact distance."""
    if at.norm == "l0":
        return
    model, x = linear_model(48, classes=4), small_inputs(4, side=4)
    with torch.no_grad():
        labels = model(x).argmax(1)
    threat = BALLS[at.norm](0.98 * exact_distance(model, x, labels, NORMS[at.norm], PIXELS))
    result = attack(model, x, Untargeted(labels), threat, SEED)
    require(not result.success.any(), f"rows {result.success.nonzero().flatten().tolist()} are called won")


@_promise(once)
def is_documented(attack: Attack, at: Setting) -> None:
    """The docstring says what every option does, and the paper is named with its year."""
    kind = type(attack)
    require(dataclasses.is_dataclass(kind), "it is no dataclass")
    require(kind.__dataclass_params__.frozen, "it is not frozen")  # type: ignore[attr-defined]
    text = "\n".join(inspect.getdoc(base) or "" for base in kind.__mro__)
    for field in dataclasses.fields(attack):
        require(re.search(rf"^\s+{field.name}: \S", text, re.MULTILINE) is not None, f"no word about {field.name}")
    require(re.search(r"\b(19|20)\d\d\b", attack.paper) is not None, f"no year in the paper: {attack.paper!r}")
    require(describe(attack) == describe(replace(attack)), "its description is not stable")


def every_option_changes_something(
    attack: Attack | type[Attack],
    norms: tuple[str, ...] | None = None,
    alternatives: Mapping[str, tuple[Any, ...]] | None = None,
) -> None:
    """For each option some other value gives another result or another cost, in some norm."""
    made = quick(attack() if isinstance(attack, type) else attack)
    places = plainly(norms or norms_of(made))
    usual = [place.run(made) for place in places]
    for field in dataclasses.fields(made):
        others = variants(made, field.name, alternatives)
        name = f"{describe(made)}: option {field.name}"
        require(bool(others), f"{name} has no other value to try; give one: alternatives={{{field.name!r}: (...,)}}")
        require(any(_differs(other, places, usual) for other in others), f"{name} changes nothing")


def _differs(attack: Attack, places: list[Setting], usual: list[Any]) -> bool:
    for place, before in zip(places, usual, strict=True):
        after = place.run(attack)
        if any(not torch.equal(getattr(after, name), getattr(before, name)) for name in ("x_adv", "forwards")):
            return True
    return False
