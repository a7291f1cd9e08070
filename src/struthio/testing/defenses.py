"""What every defence promises. `check_defense(MyDefense)` tries all of it; `defense_promises()` lists it for pytest."""

from __future__ import annotations

import copy
import inspect
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from struthio.attacks.fitted import adaptive
from struthio.attacks.pgd import PGD
from struthio.checks import UserError
from struthio.defenses.base import Defense
from struthio.goals import Untargeted
from struthio.losses import Margin
from struthio.models import declared, declared_random, load_weights
from struthio.testing.models import small_inputs, small_net
from struthio.testing.require import off, require
from struthio.testing.traces import changed, snapshot
from struthio.threats import Linf

Around = Callable[[nn.Module], nn.Module]
ROWS, SEED = 6, 7


@dataclass(frozen=True)
class Tried:
    """A defence around a small network in float64, with inputs [n, 3, 8, 8] that the network is asked about."""

    around: Around
    net: nn.Module
    model: nn.Module
    x: Tensor

    def ask(self, x: Tensor | None = None, seed: int | None = SEED, model: nn.Module | None = None) -> Tensor:
        """Its outputs for a state of torch's random numbers; None goes on from where they are."""
        with torch.no_grad():
            return self.record(self.x if x is None else x, seed, model)

    def record(self, x: Tensor, seed: int | None = SEED, model: nn.Module | None = None) -> Tensor:
        """The same with a graph."""
        if seed is not None:
            torch.manual_seed(seed)
        outputs: Tensor = (self.model if model is None else model)(x)
        return outputs

    @property
    def parts(self) -> list[Defense]:
        """The defences in the model."""
        return [part for part in self.model.modules() if isinstance(part, Defense)]

    @property
    def random(self) -> bool:
        """Whether a part declares it."""
        return declared_random(self.model)


Promise = Callable[[Any], None]


def promised(check: Callable[[Tried], None]) -> Promise:
    """A promise of a defended model as one of a defence: a class, or a function from a model to the defended one."""

    def promise(defense: type[Defense] | Around) -> None:
        around: Around = getattr(defense, "around", defense)
        if isinstance(around, nn.Module):
            name = type(around).__name__
            raise UserError(
                f"{name} is a module and no Defense. A class of defences is needed, or what puts it around a model: "
                f"lambda net: nn.Sequential({name}(), net).eval()."
            )
        net = small_net()
        with torch.random.fork_rng(devices=[]):
            check(Tried(around, net, around(net), small_inputs(ROWS)))

    promise.__name__, promise.__doc__ = check.__name__, check.__doc__
    return promise


@promised
def gives_a_row_of_scores_for_each_row(at: Tried) -> None:
    """Outputs are finite, [n, classes], of the dtype of x, which is not changed."""
    before = at.x.clone()
    out = at.ask()
    require(out.shape == (ROWS, 5), f"outputs of shape {tuple(out.shape)} for {ROWS} rows and 5 classes")
    require(out.isfinite().all(), "outputs hold NaN or infinity")
    require(out.dtype == at.x.dtype, f"outputs are {out.dtype} for inputs of {at.x.dtype}")
    require(torch.equal(at.x, before), "the input was changed")
    require(at.ask(at.x[:1]).shape == (1, 5), "a single row is not answered with one")


@promised
def survives_blank_inputs(at: Tried) -> None:
    """Black and white pictures get finite scores and slopes."""
    x = torch.stack([torch.zeros_like(at.x[0]), torch.ones_like(at.x[0])]).requires_grad_()
    twin, _ = adaptive(at.model, PGD(steps=1))
    out = at.record(x, model=twin)
    require(out.isfinite().all(), "outputs hold NaN or infinity")
    (slope,) = torch.autograd.grad(out.square().sum(), x)
    require(slope.isfinite().all(), "slopes hold NaN or infinity")


@promised
def leaves_the_model_alone(at: Tried) -> None:
    """Being put around a model changes nothing in it; its parameters are shared, and it is in evaluation mode still."""
    before = snapshot(at.net)
    model = at.around(at.net)
    left = [name for name in changed(before, snapshot(at.net)) if "random state" not in name]
    require(not left, f"changed: {', '.join(sorted(left))}")
    own = {id(parameter) for parameter in model.parameters()}
    shared = [id(parameter) in own for parameter in at.net.parameters()]
    require(all(shared), f"{shared.count(False)} of {len(shared)} parameters are not shared")
    require(not model.training, "the defended model is in training mode, though the model was not")


@promised
def says_whether_it_is_random(at: Tried) -> None:
    """Answers differ between calls exactly where a part declares `random = True`; others draw no numbers at all."""
    torch.manual_seed(SEED)
    start = torch.get_rng_state()
    first = at.ask(seed=None)
    drew = not torch.equal(start, torch.get_rng_state())
    differs = not torch.equal(first, at.ask(seed=None))
    if at.random:
        require(differs, "random = True is declared, and two calls gave the same answer")
    else:
        require(not differs, "two calls gave different answers, and no part declares random = True")
        require(not drew, "torch's random numbers were drawn, and no part declares random = True")


@promised
def answers_the_same_for_the_same_seed(at: Tried) -> None:
    """With torch's random state as before the answer is as before; a copy gives it too."""
    first = at.ask()
    require(torch.equal(first, at.ask()), "the same seed gave another answer")
    require(torch.equal(first, at.ask(model=copy.deepcopy(at.model))), "a copy gave another answer")


@promised
def treats_every_row_alone(at: Tried) -> None:
    """A batch of n equals n batches of one; where it is random, each row has draws of its own."""
    if at.random:
        out = at.ask(at.x[:1].expand(8, -1, -1, -1).contiguous())
        require(len(out.unique(dim=0)) > 1, "eight equal rows in a batch share one draw")
        return
    alone = torch.cat([at.ask(row) for row in at.x.split(1)])
    error = off(alone, at.ask())
    require(error < 1e-9, f"rows by themselves are answered differently, by up to {error}")


@promised
def acts_in_training_and_at_test(at: Tried) -> None:
    """Its parts do the same in training mode: a defence that is off in one of them is another one than was trained."""
    for part in at.parts:
        for inner in [part, *part.modules()]:
            if isinstance(inner, Defense):
                inner.training = True
    if at.random:
        require(not torch.equal(at.ask(seed=None), at.ask(seed=None)), "in training mode it is not random")
    else:
        trained = at.ask()
        for part in at.parts:
            part.training = False
        require(torch.equal(trained, at.ask()), "in training mode it answers differently")


@promised
def is_saved_and_read_back(at: Tried) -> None:
    """Weights written as safetensors and read into another one give the same answers."""
    other = at.around(small_net(seed=SEED + 1))
    other.load_state_dict(at.model.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "defended.safetensors"
        save_file({name: tensor.clone() for name, tensor in at.model.state_dict().items()}, path)
        other = load_weights(at.around(small_net(seed=SEED + 1)), path)
    require(torch.equal(at.ask(), at.ask(model=other)), "what was read back answers differently")


@promised
def has_a_right_slope_or_a_stand_in(at: Tried) -> None:
    """Without a stand-in the gradient is what a tiny step does; with one the answers stay and a gradient arrives."""
    generator = torch.Generator().manual_seed(SEED)
    x = (0.1 + 0.8 * torch.rand(at.x.shape, generator=generator, dtype=at.x.dtype)).requires_grad_()
    twin, _ = adaptive(at.model, PGD(steps=1))
    weights = torch.randn(ROWS, 5, generator=generator, dtype=x.dtype)
    out = at.record(x, model=twin)
    require(out.requires_grad, "no gradient arrives, and no part declares a stand-in")
    (slope,) = torch.autograd.grad((out * weights).sum(), x)
    require(slope.isfinite().all() & (slope != 0).any(), "the slope is zero or not finite")
    if declared(at.model):
        require(off(out, at.ask(x.detach())) < 1e-9, "with its stand-in the model answers differently")
        return
    way, errors = torch.randn(x.shape, generator=generator, dtype=x.dtype), []
    for size in (1e-6, 1e-7):
        ends = [(at.ask(x.detach() + side * size * way) * weights).sum(1) for side in (1, -1)]
        promised = (slope * way).flatten(1).sum(1)
        errors.append(((ends[0] - ends[1]) / (2 * size) - promised).abs() / promised.abs().clamp(min=1e-3))
    error = float(torch.stack(errors).amin(0).median())  # a row may lie beside a jump
    require(error < 1e-3, f"a tiny step does {error:.1%} more or less than the slope promises (median of the rows)")


@promised
def yields_to_its_adaptive_attack(at: Tried) -> None:
    """An attack that knows what it declares raises the margin of most rows, judged on the defence itself."""
    goal, threat = Untargeted(at.ask().argmax(1)), Linf(0.2)
    twin, attack = adaptive(at.model, PGD(steps=3, loss=Margin(), keep="last"), samples=2)
    x_adv = attack(twin, at.x, goal, threat).x_adv
    draws = range(8 if at.random else 1)
    before, after = (
        torch.stack([goal.score(Margin(), at.ask(x, SEED + draw)) for draw in draws]).mean(0) for x in (at.x, x_adv)
    )
    raised = float((after > before).double().mean())
    require(raised > 0.6, f"the margin rose in {raised:.0%} of the rows")


def is_documented(defense: Any) -> None:
    """It says what it does, where it comes from, what each option means, and refuses options that make no sense."""
    if not isinstance(defense, type):
        return
    text = inspect.getdoc(defense) or ""
    require(bool(text.partition("\n")[0].strip()), "it has no docstring")
    require(any(word.strip(",.").isdigit() for word in defense.paper.split()), "`paper` names no year")  # type: ignore[attr-defined]
    for name, option in inspect.signature(defense).parameters.items():
        if option.kind in (option.VAR_POSITIONAL, option.VAR_KEYWORD):  # torch's own, where there is no __init__
            continue
        require(f"\n    {name}: " in text, f"the option {name!r} is not explained under Args")
        if isinstance(option.default, (int, float)) and not isinstance(option.default, bool):
            refused = False
            try:
                defense.around(small_net(), **{name: -1})  # type: ignore[attr-defined]
            except UserError:
                refused = True
            except Exception as error:
                require(False, f"{name}=-1 raised {error!r} and not a UserError")
            require(refused or name in ANY_SIGN, f"{name}=-1 was not refused")


ANY_SIGN = ("fill",)  # options that may be negative


def defense_promises() -> list[Promise]:
    """Every promise as a function of a defence, which raises BrokenPromise where it is not kept.

    A defence is a class with `around`, or any function from a model (pictures [n, 3, 8, 8] in float64 to 5 logits) to
    the defended one.
    """
    return [
        gives_a_row_of_scores_for_each_row,
        survives_blank_inputs,
        leaves_the_model_alone,
        says_whether_it_is_random,
        answers_the_same_for_the_same_seed,
        treats_every_row_alone,
        acts_in_training_and_at_test,
        is_saved_and_read_back,
        has_a_right_slope_or_a_stand_in,
        yields_to_its_adaptive_attack,
        is_documented,
    ]


def check_defense(defense: type[Defense] | Around) -> None:
    """Try every promise on a defence. Raises BrokenPromise at the first that breaks.

    Args:
        defense: its class, which is put around small networks with its default options; or a function that does so, for
            one that needs more: `lambda net: MyDefense.around(net, known_rows)`.
    """
    for promise in defense_promises():
        promise(defense)
