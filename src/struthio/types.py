"""The nouns as Protocols: what a model, threat, goal, attack, loss, gradient and rule must be able to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

if TYPE_CHECKING:
    from struthio.result import Result
    from struthio.rows import RowGenerator, Rows

Model = Callable[[Tensor], Tensor]  # a batch [n, ...] to outputs [n, classes]
State = dict[str, Tensor]  # what a rule remembers: one row an input in each tensor


@runtime_checkable
class Threat(Protocol):
    """What may change, and by how much. `z` is whatever the adversary controls: a delta, a patch, an angle."""

    @property
    def eps(self) -> float | Tensor:
        """The radius: one number, or one a row [n]."""
        ...

    @property
    def reach(self) -> float | Tensor:
        """The longest step that makes sense, in units of `steepest`: the radius of a ball."""
        ...

    def check(self, x: Tensor) -> None:
        """Raise UserError where x or the radius cannot be meant."""
        ...

    def zero(self, x: Tensor) -> Tensor:
        """The z that changes nothing."""
        ...

    def sample(self, x: Tensor, generator: RowGenerator) -> Tensor:
        """A random z inside, each row from its own numbers."""
        ...

    def apply(self, x: Tensor, z: Tensor) -> Tensor:
        """The input that the model sees; differentiable in z."""
        ...

    def steepest(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The unit step from z that gains most, to first order."""
        ...

    def useful(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The slope at z, set to zero where a step along it would be lost: out of the limits, outside a mask."""
        ...

    def project(self, x: Tensor, z: Tensor) -> Tensor:
        """The nearest allowed z."""
        ...

    def size(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """How far x_adv is from x, [n], to be compared with eps."""
        ...

    def allows(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Which rows of x_adv are allowed, bool [n], up to rounding; attacks are judged by it."""
        ...

    def farthest(self, x: Tensor) -> Tensor:
        """The size of the largest change that the limits allow, [n]; infinite where nothing bounds it."""
        ...

    def at(self, eps: float | Tensor) -> Threat:
        """The same threat with another radius."""
        ...

    def __getitem__(self, rows: Rows) -> Threat:
        """Per-row radii and masks follow their rows."""
        ...


class Loss(Protocol):
    """How bad it is: [n], per row, higher suits the attacker."""

    def away(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Higher the further the outputs are from the labels."""
        ...

    def toward(self, outputs: Tensor, targets: Tensor, labels: Tensor | None = None) -> Tensor:
        """Higher the closer the outputs are to the targets."""
        ...


@runtime_checkable
class Goal(Protocol):
    """What counts as success, and which way a loss points."""

    def check(self, x: Tensor) -> None:
        """Raise UserError where the goal does not fit the rows."""
        ...

    def check_outputs(self, outputs: Tensor) -> None:
        """Raise UserError where the goal names a class that the model does not have."""
        ...

    def success(self, outputs: Tensor) -> Tensor:
        """Which rows are won, bool [n]."""
        ...

    def score(self, loss: Loss, outputs: Tensor) -> Tensor:
        """The loss as the adversary sees it, [n]; the adversary ascends."""
        ...

    def __getitem__(self, rows: Rows) -> Goal:
        """The goal of these rows alone."""
        ...


class Gradient(Protocol):
    """How the slope is found. `see` turns z into the model's input, `score` turns outputs into [n]."""

    def __call__(
        self,
        model: Model,
        see: Callable[[Tensor], Tensor],
        z: Tensor,
        score: Callable[[Tensor], Tensor],
        generator: RowGenerator,
    ) -> tuple[Tensor, Tensor]:
        """The slope of the score at z (shape of z), and the outputs there [n, classes]."""
        ...


class Rule(Protocol):
    """How a slope becomes a direction: plain, with momentum, with a look ahead."""

    def start(self, z: Tensor) -> State:
        """What is remembered before the first step."""
        ...

    def where(self, z: Tensor, state: State, step: Tensor) -> Tensor:
        """The point at which the slope is taken."""
        ...

    def direction(self, grad: Tensor, nearby: Callable[[float], Tensor], state: State) -> tuple[Tensor, State]:
        """The direction to go, and what to remember. `nearby(r)` is the slope at a random point within r times eps."""
        ...


class Attack(Protocol):
    """How it is searched: a frozen dataclass of options that is called like this."""

    def __call__(self, model: Model, x: Tensor, goal: Goal, threat: Threat, generator: Any = 0) -> Result:
        """Attack every row of x."""
        ...


class Detector(Protocol):
    """Judges an input: a score a row, and a line above which a row is flagged."""

    threshold: Tensor

    def score(self, x: Tensor) -> Tensor:
        """How suspicious each row is, [n]: higher is more suspicious."""
        ...

    def calibrate(self, x: Tensor, fpr: float = 0.05) -> Detector:
        """Set the threshold by clean rows, of which this share may be flagged."""
        ...

    def excess(self, x: Tensor) -> Tensor:
        """How far above the threshold each row is, [n], in a unit that can be set beside logits."""
        ...
