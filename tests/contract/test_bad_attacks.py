"""The suite is no rubber stamp: each of these attacks and threats breaks one promise, and is told which."""

import random
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch

import struthio as st
from struthio import UserError
from struthio.attacks.base import Attack
from struthio.losses import CrossEntropy
from struthio.rows import per_row
from struthio.testing import BrokenPromise, attack_promises, check_attack, check_threat, small_inputs, threat_promises

PROMISES = {promise.__name__: promise for promise in attack_promises()}


@dataclass(frozen=True)
class Honest(Attack):
    """A few steps of the whole radius.

    Args:
        steps: how many.
        step: the length of each, as a share of the radius.
        loss: what is increased.
    """

    paper: ClassVar[str] = "Nobody, 2024"
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    steps: int = 3
    step: float = 0.5
    loss: CrossEntropy = field(default_factory=CrossEntropy)

    def slope(self, model, x, goal, threat, z):
        see, score = partial(threat.apply, x), partial(goal.score, self.loss)
        grad, outputs = st.Autograd()(model, see, z, score, None)
        return grad, goal.success(outputs)

    def start(self, x, threat, generator):
        return threat.zero(x)

    def after(self, model, x, z):
        return z

    def search(self, model, x, goal, threat, generator):
        z, found = threat.project(x, self.start(x, threat, generator)), threat.zero(x)
        won = torch.zeros(len(x), dtype=torch.bool)
        for _ in range(self.steps):
            grad, now = self.slope(model, x, goal, threat, z)
            found = torch.where(won[:, None, None, None], found, z)
            won = won | now
            z = threat.project(x, z + self.step * per_row(threat.eps, z) * threat.steepest(x, z, grad))
        found = torch.where(won[:, None, None, None], found, z)
        return self.finish(threat, x, found, model)

    def finish(self, threat, x, found, model):
        return threat.apply(x, found)


class Bursting(Honest):
    """Ends outside the ball."""

    def finish(self, threat, x, found, model):
        return (x + 1.5 * found).clamp(float(x.min()), float(x.max()))


class Overflowing(Honest):
    """Forgets the limits."""

    def finish(self, threat, x, found, model):
        return x + per_row(threat.eps, x) * torch.ones_like(x)


class Restless(Honest):
    """Moves everything a little, whatever the radius."""

    def finish(self, threat, x, found, model):
        return threat.apply(x, found) * (1 - 1e-9)


class Maskless(Honest):
    """Works on the ball inside the mask."""

    def search(self, model, x, goal, threat, generator):
        return super().search(model, x, goal, getattr(threat, "threat", threat), generator)


class InPlace(Honest):
    """Writes into the input."""

    def finish(self, threat, x, found, model):
        x += found
        return x


class Switching(Honest):
    """Puts the whole model in evaluation mode."""

    def finish(self, threat, x, found, model):
        model.model.eval()
        return threat.apply(x, found)


class Freezing(Honest):
    """Freezes parameters, and thaws them only when all goes well."""

    def slope(self, model, x, goal, threat, z):
        for parameter in model.model.parameters():
            parameter.requires_grad_(False)
        grad = super().slope(model, x, goal, threat, z)
        for name, parameter in model.model.named_parameters():
            parameter.requires_grad_(name.removeprefix("model.") != "0.bias")
        return grad


class Collecting(Honest):
    """Takes the gradient of parameters along."""

    def slope(self, model, x, goal, threat, z):
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            outputs = model(threat.apply(x, z))
            goal.score(self.loss, outputs).sum().backward()
        return z.grad, goal.success(outputs)


class Hooking(Honest):
    """Leaves a hook behind."""

    def finish(self, threat, x, found, model):
        next(model.model.children()).register_forward_hook(lambda *_: None)
        return threat.apply(x, found)


class Seeding(Honest):
    """Draws from numpy's and Python's global state."""

    def start(self, x, threat, generator):
        random.random()
        return torch.as_tensor(np.random.uniform(-1, 1, x.shape)) * per_row(threat.eps, x)


class Mixing(Honest):
    """Scales every row by the largest slope of the batch."""

    def slope(self, model, x, goal, threat, z):
        grad, won = super().slope(model, x, goal, threat, z)
        return torch.where(grad.abs() > 0.2 * grad.abs().max(), grad, 0.0), won


class Counting(Honest):
    """Numbers its rows from 0 in every batch."""

    def start(self, x, threat, generator):
        numbers = torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
        return (2 * numbers - 1) * per_row(threat.eps, x)


class Smuggling(Honest):
    """Asks the model behind the meter's back."""

    def slope(self, model, x, goal, threat, z):
        return super().slope(model.model, x, goal, threat, z)


class Forgetful(Honest):
    """Returns the last point, whatever was won before."""

    def search(self, model, x, goal, threat, generator):
        z = threat.zero(x)
        for turn in range(self.steps):
            grad, _ = self.slope(model, x, goal, threat, z)
            z = threat.project(x, z + per_row(threat.eps, z) * grad.sign() * (1 if turn < 2 else -2))
        return threat.apply(x, z)


@dataclass(frozen=True)
class Ignoring(Honest):
    """An option that does nothing.

    Args:
        patience: is not used.
    """

    patience: int = 3


@dataclass(frozen=True)
class Undocumented(Honest):
    """An option without a word."""

    share: float = 0.5

    def start(self, x, threat, generator):
        return torch.full_like(x, self.share) * per_row(threat.eps, x)


class Anonymous(Honest):
    """Names no paper."""

    paper = "folklore"


class Boastful(Honest):
    """Judges itself."""

    def __call__(self, *arguments, **named):
        result = super().__call__(*arguments, **named)
        return st.Result(result.x_adv, torch.ones_like(result.success), *list(vars(result).values())[2:])


class Guessing(Honest):
    """Says that it needs scores alone, and takes the gradient where it finds one."""

    access = "scores"

    def slope(self, model, x, goal, threat, z):
        try:
            return super().slope(model, x, goal, threat, z)
        except UserError:
            return torch.zeros_like(z), torch.zeros(len(x), dtype=torch.bool)


class Lenient(Honest):
    """Checks nothing."""

    def __call__(self, model, x, goal, threat, generator=0):
        n = len(x)
        return st.Result(x, torch.zeros(n, dtype=torch.bool), *[torch.zeros(n)] * 5)


BAD = {
    Bursting: "stays_inside_the_threat_and_the_limits",
    Overflowing: "stays_inside_the_threat_and_the_limits",
    Restless: "changes_nothing_at_radius_zero",
    Maskless: "leaves_alone_what_the_mask_protects",
    InPlace: "leaves_no_trace",
    Switching: "leaves_no_trace",
    Collecting: "leaves_no_trace",
    Hooking: "leaves_no_trace",
    Seeding: "leaves_no_trace",
    Freezing: "leaves_no_trace_when_the_model_breaks",
    Mixing: "treats_every_row_alone",
    Counting: "treats_every_row_alone",
    Smuggling: "counts_every_query",
    Forgetful: "never_loses_a_win",
    Ignoring: "every_option_changes_something",
    Undocumented: "is_documented",
    Anonymous: "is_documented",
    Boastful: "is_judged_from_outside",
    Guessing: "asks_no_more_than_it_declares",
    Lenient: "refuses_what_cannot_be_meant",
}


def test_an_honest_attack_passes():
    check_attack(Honest)
    check_attack(Honest(steps=5))


@pytest.mark.parametrize(("kind", "name"), BAD.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_bad_attack_is_told_which_promise_it_breaks(kind, name):
    with pytest.raises(BrokenPromise, match=kind.__name__):
        PROMISES[name](kind)
    with pytest.raises(BrokenPromise):
        check_attack(kind)


def test_options_of_unknown_kind_need_alternatives():
    @dataclass(frozen=True)
    class Shaped(Honest):
        """Starts in a shape.

        Args:
            shape: "flat" or "steep".
        """

        shape: str = "flat"

        def start(self, x, threat, generator):
            return torch.full_like(x, 1.0 if self.shape == "steep" else 0.0) * per_row(threat.eps, x)

    with pytest.raises(BrokenPromise, match="alternatives={'shape'"):
        check_attack(Shaped)
    check_attack(Shaped, alternatives={"shape": ("steep",)})


class ClippedLater(st.L2):
    """Projects onto the ball, then clips: allowed, but not the nearest."""

    def project(self, x, z):
        return self._inside(x, st.L2(self.eps, None).project(x, z))


class Together(st.L2):
    """Scales all rows by the longest."""

    def project(self, x, z):
        return self._inside(x, z * (self.eps / z.flatten(1).norm(dim=1).max()).clamp(max=1.0))


class TooFar(st.Linf):
    """Samples from a ball twice as large."""

    def sample(self, x, generator):
        return self.at(2 * self.eps)._inside(x, (2 * generator.uniform(x.shape[1:], x.dtype) - 1) * 2 * self.eps)


class Stiff(st.Linf):
    """Lets no slope through the limits."""

    def apply(self, x, z):
        return self.box.clip(x + z).detach() + 0 * z


class Backwards(st.Linf):
    """Steps the wrong way."""

    def steepest(self, x, z, grad):
        return -grad.sign()


@pytest.mark.parametrize(
    ("threat", "name"),
    [
        (ClippedLater(1.0), "projections_are_nearest"),
        (Together(1.0), "rows_keep_their_own"),
        (TooFar(0.1), "samples_are_allowed"),
        (Stiff(0.1), "slopes_pass"),
        (Backwards(0.1), "steps_gain"),
    ],
)
def test_a_bad_threat_is_told_which_promise_it_breaks(threat, name):
    promises = {promise.__name__: promise for promise in threat_promises()}
    with pytest.raises(BrokenPromise, match=type(threat).__name__):
        promises[name](threat, small_inputs())
    with pytest.raises(BrokenPromise):
        check_threat(threat)


def test_a_good_threat_passes():
    check_threat(st.L2(0.5))
    check_threat(st.Linf(0.1, st.Box(-1, 1)), small_inputs(3, 5, box=st.Box(-1, 1)))
