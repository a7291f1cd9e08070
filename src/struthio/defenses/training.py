"""How every trained defence is trained: Adam over mixed batches, the same again for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.put_back import seeded


@dataclass(frozen=True)
class Course:
    """How long and how fast a defence is trained.

    Args:
        epochs: passes over all rows.
        batch_size: rows a step.
        lr: the learning rate of Adam, which falls to 0 along a cosine.
        seed: of the first weights, of the order of the rows, and of all noise.
    """

    epochs: int = 20
    batch_size: int = 64
    lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        checks.count(self.epochs, "epochs")
        checks.count(self.batch_size, "batch_size")
        checks.positive(self.lr, "lr")


USUAL = Course()


@dataclass(frozen=True)
class Epoch:
    """How training stands after a pass over all rows.

    Attributes:
        number: of passes done.
        loss: the mean over its batches.
    """

    number: int
    loss: float


Progress = Callable[[Epoch], None]


def train(
    net: nn.Module,
    loss: Callable[..., Tensor],
    rows: Sequence[Tensor],
    course: Course,
    progress: Progress | None = None,
) -> None:
    """Minimise `loss(*batch)` over the parameters of `net` and no others; it is left in evaluation mode, without
    gradients.

    Args:
        net: what is trained.
        loss: from the same rows of each tensor to their mean loss, a scalar.
        rows: tensors of the same number of rows.
        course: how long and how fast.
        progress: called after each pass with an `Epoch`.

    Raises:
        UserError: where the tensors differ in their number of rows, or the loss is no finite number.
    """
    same_rows(rows)
    parameters = list(net.parameters())
    optimizer = torch.optim.Adam(parameters, course.lr)
    batches = -(-len(rows[0]) // course.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, course.epochs * batches)
    with seeded(course.seed), torch.enable_grad(), training(net):
        for number in range(1, course.epochs + 1):
            total = 0.0
            for ids in torch.randperm(len(rows[0])).split(course.batch_size):
                value = loss(*(each[ids.to(each.device)] for each in rows))
                total += finite(value, number, course.lr)
                optimizer.zero_grad()
                value.backward(inputs=parameters)
                optimizer.step()
                schedule.step()
            if progress is not None:
                progress(Epoch(number, total / batches))
    optimizer.zero_grad()


def fresh(net: nn.Module, seed: int) -> None:
    """Draw the weights of every layer anew, from this seed alone."""
    with seeded(seed):
        for part in net.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()


def same_rows(rows: Sequence[Tensor]) -> None:
    """Raise UserError where tensors differ in their number of rows, or there are none."""
    counts = [len(each) for each in rows]
    if len(set(counts)) != 1 or counts[0] == 0:
        raise UserError(f"the tensors to train on have {counts} rows; the same number of rows, above 0, is needed.")


def same_shape(x: Tensor, x_adv: Tensor) -> None:
    """Raise UserError where adversarial rows do not stand beside their clean ones."""
    if x.shape != x_adv.shape:
        raise UserError(
            f"x has shape {tuple(x.shape)} and x_adv {tuple(x_adv.shape)}. Give row for row what became of x: "
            "attack(model, x, goal, threat).x_adv."
        )


def finite(value: Tensor, epoch: int, lr: float) -> float:
    """A loss as a number. Raises UserError where it is none."""
    if not bool(value.isfinite()):
        raise UserError(
            f"the loss is {float(value.detach())} in pass {epoch}. Take a smaller lr than {lr:g}, or check the rows."
        )
    return float(value.detach())


@contextmanager
def training(net: nn.Module) -> Iterator[None]:
    """In training mode for a while; then in evaluation mode."""
    try:
        net.train()
        yield
    finally:
        net.eval()
