"""One photograph: attacked, saved as the 8-bit picture that counts, read back, and judged again."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.stream import Aim, aimed
from struthio.checks import UserError
from struthio.data.pictures import jpeg_round_trip, on_levels, png_round_trip, read_picture, save_png
from struthio.data.resize import Fit, to_channels, to_size
from struthio.goals import Evade, Targeted, abstains
from struthio.meter import ask
from struthio.types import Goal, Model, Threat

JPEG = (95, 75)  # the qualities that a result is tried at


@dataclass(frozen=True)
class Survival:
    """What is left of a result after a picture format.

    Attributes:
        reached: whether the goal is still reached.
        probability: that of the target; without one, of the class that is now strongest.
    """

    reached: bool
    probability: float


@dataclass(frozen=True)
class PictureResult:
    """What came of one photograph.

    Attributes:
        x: the picture that was attacked, on the 256 levels, [C, H, W].
        x_adv: the result as it comes back from an 8-bit PNG file, [C, H, W].
        noise: the network's probabilities for the enlarged noise on grey, [classes].
        before: its probabilities for x, [classes].
        after: its probabilities for x_adv, [classes].
        target: the wanted class, or None.
        size: the distance of x_adv from x in the threat's own measure.
        survives: PNG, JPEG 95 and JPEG 75; whether the result is still reached in each.
        forwards: how often the model was asked by the attack.
        backwards: how often a gradient was taken.
        seconds: what the attack took.
    """

    x: Tensor
    x_adv: Tensor
    noise: Tensor
    before: Tensor
    after: Tensor
    target: int | None
    size: float
    survives: dict[str, Survival]
    forwards: int
    backwards: int
    seconds: float

    @property
    def reached(self) -> bool:
        """Whether the saved 8-bit picture reaches the goal."""
        return self.survives["PNG"].reached


def attack_picture(
    model: Model,
    x: Tensor,
    attack: Attack,
    threat: Threat,
    aim: Aim,
    *,
    path: str | Path | None = None,
    seed: int = 0,
    seen: Model | None = None,
) -> PictureResult:
    """Attack one picture and judge what an 8-bit file keeps of it.

    Args:
        model: any callable, or one made by `prepare`, whose original then judges; takes pictures of the size of x.
        x: the picture [C, H, W], on the 256 levels (`fitted` and `whole` bring it there).
        attack: how it is searched.
        threat: what may change; `Levels(...)` makes results that saving does not alter.
        aim: the goal, from the clean outputs and the class that they name: see `stream.aim`. It is to be reached
            unnoticed where the network may abstain.
        path: where the result is saved as PNG, and read back from. None passes it through PNG in memory.
        seed: of the random numbers.
        seen: what the attack asks in place of the model, such as one that tells of it and can be stopped.

    Raises:
        UserError: where the network already says what is wanted, or an argument cannot be meant.
    """
    given = getattr(model, "original", model)
    clean = _ask(given, x)
    checks.outputs(clean, 1)
    classes = clean[:, :-1] if abstains(given) else clean
    goal = aimed(given, aim, clean, classes.argmax(1))
    goal.check_outputs(clean)
    if bool(goal.success(clean)):
        raise UserError(f"the network already says {_called(given, clean)}; name another class.")
    started = time.perf_counter()
    result = attack(model if seen is None else seen, x[None], goal, threat, seed)
    seconds = time.perf_counter() - started
    saved = _saved(result.x_adv[0], path)
    return PictureResult(
        x=x,
        x_adv=saved,
        noise=_ask(given, on_levels((0.5 + 10 * (saved - x)).clamp(0, 1))).softmax(1)[0],
        before=clean.softmax(1)[0],
        after=_ask(given, saved).softmax(1)[0],
        target=_target(goal),
        size=float(threat.size(x[None], saved[None])),
        survives=_survives(given, saved, goal),
        forwards=int(result.forwards),
        backwards=int(result.backwards),
        seconds=seconds,
    )


def fitted(x: Tensor, size: tuple[int, int, int] | None) -> Tensor:
    """The picture [C, H, W] as the network of this input size sees it, on the 256 levels."""
    return on_levels(to_size(x[None], size)[0])


def whole(x: Tensor, size: tuple[int, int, int] | None) -> Tensor:
    """The picture [C, H, W] at its own resolution, with the channels of the network, on the 256 levels."""
    return on_levels(x if size is None else to_channels(x[None], size[0])[0])


def seen_whole(model: nn.Module, size: tuple[int, int, int] | None) -> nn.Module:
    """The network behind the differentiable resize, so that pictures of any resolution can be attacked."""
    return model if size is None else nn.Sequential(Fit(size[1:]), model).eval()


def _saved(x_adv: Tensor, path: str | Path | None) -> Tensor:
    if path is None:
        return png_round_trip(x_adv)
    save_png(x_adv, path)
    return read_picture(path)[: len(x_adv)].to(x_adv)


def _survives(model: Model, saved: Tensor, goal: Goal) -> dict[str, Survival]:
    kept = {"PNG": saved} | {f"JPEG {quality}": jpeg_round_trip(saved, quality) for quality in JPEG}
    survives = {}
    for name, picture in kept.items():
        outputs = _ask(model, picture)
        probabilities = outputs.softmax(1)[0]
        target = _target(goal)
        wanted = int(probabilities.argmax()) if target is None else target
        survives[name] = Survival(bool(goal.success(outputs)), float(probabilities[wanted]))
    return survives


def _target(goal: Goal) -> int | None:
    """The wanted class, where one is wanted."""
    wanted = goal.goal if isinstance(goal, Evade) else goal
    return int(wanted.targets) if isinstance(wanted, Targeted) else None


@torch.no_grad()
def _ask(model: Model, x: Tensor) -> Tensor:
    return ask(model, x[None])


def _called(model: Model, outputs: Tensor) -> str:
    number = int(outputs.argmax())
    names = getattr(model, "class_names", None)
    share = float(outputs.softmax(1)[0, number])
    name = repr(names[number].split(",")[0]) if names and number < len(names) else f"class {number}"
    return f"{name} ({math.floor(1000 * share) / 10:g} % sure)"
