"""What every attack answers for: its results, its cost, its goals, its limits and its options."""

from __future__ import annotations

import dataclasses
import inspect
import re
from dataclasses import replace

import torch

from struthio.attacks.base import Attack
from struthio.checks import UserError
from struthio.describe import describe
from struthio.goals import Both, Drift, Targeted, Untargeted
from struthio.losses import Margin
from struthio.models import labels_only, scores_only
from struthio.testing.models import exact_distance, linear_model, small_inputs
from struthio.testing.require import CLOSE, BrokenPromise, off, require
from struthio.testing.settings import (
    SEED,
    Check,
    Setting,
    at_least_once,
    norms_of,
    once,
    plain,
    plainly,
    settings,
    tried_in,
)
from struthio.testing.traces import Counting
from struthio.threats import BALLS, THREATS

KEEP = "Keep the best of each row (struthio.attacks.best), or declare improves = False."


@tried_in(settings)
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


@tried_in(at_least_once)
def counts_every_query(attack: Attack, at: Setting) -> None:
    """Reported forwards and backwards are those that the model sees."""
    model = Counting(at.model)
    result = at.run(attack, model=model)
    for name in ("forwards", "backwards"):
        seen, said = getattr(model, name), int(getattr(result, name).sum())
        fix = "Ask the model that search is given, model[rows] for some rows, and no other."
        require(seen == said, f"{seen} {name} were made and {said} reported. {fix}")


@tried_in(settings)
def never_loses_a_win(attack: Attack, at: Setting) -> None:
    """Where the best is kept, a row is won if any point within its threat that the model was asked about wins it."""
    if not attack.improves:
        return
    model = Counting(at.model)
    result = at.run(attack, model=model)
    asked = torch.cat(model.asked)
    with torch.no_grad():
        outputs = at.model(asked)
    for row in (~result.success).nonzero().flatten().tolist():  # points asked for another row lie outside its threat
        many = at[torch.full((len(asked),), row)]
        won = many.goal.success(outputs).nonzero().flatten()
        allowed = many.threat[won].size(many.x[won], asked[won]) <= torch.as_tensor(many.threat[won].eps) + CLOSE
        require(not allowed.any(), f"row {row} was won on the way, and is not in the end. {KEEP}")


@tried_in(plainly)
def is_not_hurt_by_more_steps(attack: Attack, at: Setting) -> None:
    """Where the best is kept and steps have one length, rows won in few steps are won in more."""
    options = {field.name for field in dataclasses.fields(attack)}
    if not attack.improves or not {"steps", "step"} <= options:
        return
    few = at.run(replace(attack, steps=3, step=0.2))  # type: ignore[call-arg]
    more = at.run(replace(attack, steps=12, step=0.2))  # type: ignore[call-arg]
    lost = (few.success & ~more.success).nonzero().flatten().tolist()
    require(not lost, f"rows {lost} are won in 3 steps and not in 12. {KEEP}")


@tried_in(plainly)
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


@tried_in(plainly)
def asks_no_more_than_it_declares(attack: Attack, at: Setting) -> None:
    """On a model that shows only scores or labels, an attack that needs no more answers the same; others refuse."""
    if attack.access == "gradients":
        if int(at.run(attack).backwards.sum()):
            _refused(attack, replace(at, model=scores_only(at.model)), "a model without gradient")
        return
    view = {"scores": scores_only, "labels": labels_only}[attack.access](at.model)
    same = torch.equal(at.run(attack).x_adv, at.run(attack, model=view).x_adv)
    require(same, f"it declares that it needs only {attack.access}, but answers otherwise when it has no more")


@tried_in(plainly)
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
    for other in set(THREATS) - set(norms_of(attack)):
        _refused(attack, replace(at, threat=plain(other).threat), f"a threat in {other}, which it does not declare")


def _refused(attack: Attack, at: Setting, what: str) -> None:
    try:
        at.run(attack)
    except UserError:
        return
    except Exception as error:
        raise BrokenPromise(f"{what} led to {error!r}, not to UserError") from error
    raise BrokenPromise(f"{what} was not refused with UserError")


@tried_in(plainly)
def wins_nothing_that_cannot_be_won(attack: Attack, at: Setting) -> None:
    """On a linear model, no row is won within 0.98 of its exact distance."""
    if at.norm not in ("linf", "l2", "l1"):
        return
    model, x = linear_model(48, classes=4), small_inputs(4, side=4)
    with torch.no_grad():
        labels = model(x).argmax(1)
    threat = BALLS[at.norm](0.98 * exact_distance(model, x, labels, BALLS[at.norm].p))
    result = attack(model, x, Untargeted(labels), threat, SEED)
    require(not result.success.any(), f"rows {result.success.nonzero().flatten().tolist()} are called won")


@tried_in(once)
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


ACCOUNT: list[Check] = [
    is_judged_from_outside,
    counts_every_query,
    never_loses_a_win,
    is_not_hurt_by_more_steps,
    serves_other_goals,
    asks_no_more_than_it_declares,
    refuses_what_cannot_be_meant,
    wins_nothing_that_cannot_be_won,
    is_documented,
]
