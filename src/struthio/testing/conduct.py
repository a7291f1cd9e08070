"""How every attack behaves: inside the threat, row by row, the same again, and without a trace."""

from __future__ import annotations

import torch

from struthio.attacks.base import Attack
from struthio.testing.require import CLOSE, off, require
from struthio.testing.settings import Check, Setting, at_least_once, masked, on_levels, plainly, settings, tried_in
from struthio.testing.traces import Failing, changed, snapshot

LAST = "The last thing done is threat.apply(x, threat.project(x, z)), which sees to all of that."
DRAW = "Draw from the generator that search is given, and take slopes under torch.enable_grad, as Autograd does."


@tried_in(settings)
def stays_inside_the_threat_and_the_limits(attack: Attack, at: Setting) -> None:
    """No row leaves the ball or the limits by more than rounding."""
    x_adv = at.run(attack).x_adv
    size, eps = at.size(x_adv), torch.as_tensor(at.threat.eps)
    beyond = (~(size <= eps + CLOSE)).nonzero().flatten().tolist()
    require(not beyond, f"rows {beyond} are too large: sizes {size.tolist()}, radii {eps.tolist()}. {LAST}")
    low, high = float(x_adv.min()), float(x_adv.max())
    require(low >= at.box.low - CLOSE and high <= at.box.high + CLOSE, f"values reach from {low} to {high}. {LAST}")


@tried_in(settings)
def changes_nothing_at_radius_zero(attack: Attack, at: Setting) -> None:
    """With a radius of 0 the inputs come back as they were."""
    x_adv = at.run(attack, threat=at.threat.at(0.0)).x_adv
    require(torch.equal(x_adv, at.x), f"values moved by up to {off(x_adv, at.x)}. {LAST}")


@tried_in(masked)
def leaves_alone_what_the_mask_protects(attack: Attack, at: Setting) -> None:
    """Values outside the mask are exactly as they were."""
    moved = (at.run(attack).x_adv != at.x) & ~at.threat.mask  # type: ignore[attr-defined]
    require(not moved.any(), f"{int(moved.sum())} protected values moved")


@tried_in(lambda norms: [on_levels(norm) for norm in norms])
def keeps_to_the_levels(attack: Attack, at: Setting) -> None:
    """Results lie on the 256 levels of a saved picture."""
    places = at.run(attack).x_adv * 255
    require(off(places, places.round()) < 1e-9, f"values lie {off(places, places.round())} beside a level. {LAST}")


@tried_in(at_least_once)
def leaves_no_trace(attack: Attack, at: Setting) -> None:
    """The model, the arguments and all global state are as before."""
    at.model.register_forward_hook(lambda part, inputs, outputs: None)
    before = snapshot(at.model, at.x, at.goal, at.threat)
    at.run(attack)
    left = changed(before, snapshot(at.model, at.x, at.goal, at.threat))
    require(not left, f"changed: {', '.join(sorted(left))}")


@tried_in(at_least_once)
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


@tried_in(settings)
def treats_every_row_alone(attack: Attack, at: Setting) -> None:
    """A row is alone what it is in a batch, and a shuffled batch gives the shuffled result."""
    whole = at.run(attack)
    order = torch.tensor([5, 2, 7, 0, 3, 6, 1, 4][-len(at.x) :]).argsort()
    for rows in (*torch.arange(3).split(1), order):
        part = at[rows].run(attack)
        for name in ("x_adv", "size", "score", "success", "forwards", "backwards"):
            error = off(getattr(part, name), getattr(whole, name)[rows])
            require(
                error < 1e-9,
                f"{name} of rows {rows.tolist()} differs by {error} from that in the whole batch. Reduce over a row's "
                "values alone (flatten(1)), and draw from the generator that search is given.",
            )


@tried_in(plainly)
def answers_the_same_again(attack: Attack, at: Setting) -> None:
    """The same seed gives the same result, with gradients recorded or not, from a module or a function."""
    first = at.run(attack)
    with torch.no_grad():
        again = at.run(attack, model=lambda x: at.model(x))
    require(torch.equal(first.x_adv, again.x_adv), f"results differ by {off(first.x_adv, again.x_adv)}. {DRAW}")


CONDUCT: list[Check] = [
    stays_inside_the_threat_and_the_limits,
    changes_nothing_at_radius_zero,
    leaves_alone_what_the_mask_protects,
    keeps_to_the_levels,
    leaves_no_trace,
    leaves_no_trace_when_the_model_breaks,
    treats_every_row_alone,
    answers_the_same_again,
]
