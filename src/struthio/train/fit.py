"""The loop that trains: one for every recipe, one process or many, begun or gone on with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from struthio.attacks.base import no_trace
from struthio.checks import UserError
from struthio.train import history
from struthio.train.appraise import evaluated
from struthio.train.batches import BEGIN, in_batches, numbers
from struthio.train.checkpoint import Training
from struthio.train.crew import joined
from struthio.train.history import Epoch
from struthio.train.job import Data, Job, agreed, threat_of
from struthio.train.keeper import Keeper
from struthio.train.plan import Plan
from struthio.train.recipe import Recipe
from struthio.train.stepper import Stepper
from struthio.train.stopping import Stop, hearing
from struthio.train.weights import Average


class Diverged(UserError):
    """The loss is NaN or infinite. `rows` are the ids of the batch; what was kept before is as it was."""

    rows: Tensor


@dataclass(frozen=True)
class Progress:
    """Where training stands: after each batch, and once more after each epoch with its line of history.

    Attributes:
        epoch: the epoch under way, from 0.
        batch: batches of it that are done.
        batches: of an epoch.
        loss: the mean loss over this epoch so far.
        finished: the line of the epoch that was just finished, else None.
    """

    epoch: int
    batch: int
    batches: int
    loss: float
    finished: Epoch | None = None


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Trained:
    """What came out.

    Attributes:
        model: what is to be used, in evaluation mode, with the weights of the best evaluation.
        history: one line an epoch.
        best: the line of the epoch whose weights these are.
        doubts: what the history gives away, such as catastrophic overfitting.
    """

    model: nn.Module
    history: tuple[Epoch, ...]
    best: Epoch
    doubts: tuple[str, ...]


def fit(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    plan: Plan | None = None,
    *,
    held: Data | None = None,
    to: str | Path | None = None,
    tell: Tell | None = None,
    save_every: float = 600.0,
) -> Trained:
    """Train a model, in place.

    The order of the rows, their augmentation and all random numbers follow from (seed, epoch, row id), so that training
    that was killed and went on from its checkpoint ends with the very same weights, and several processes (torchrun,
    `struthio harden --devices`) take the same steps as one.

    Args:
        model: what is trained, on the device where that is to happen; it holds its own normalisation.
        data: labelled rows, or a data set's name for `load_data`.
        recipe: the loss.
        plan: everything else; None: `Plan()`.
        held: rows for the evaluation; None keeps some of `data` out of training for it.
        to: a folder for the checkpoint and the best weights; what lies there of the same job is gone on with. None
            keeps nothing.
        tell: called after each batch and each epoch.
        save_every: seconds between checkpoints within an epoch; one is written after each epoch in any case.

    Raises:
        UserError: for data, labels or options that cannot be meant, a folder of another job or in which another process
            trains, a damaged checkpoint, and a disk that is full.
        Diverged: where the loss is NaN or infinite.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, between two steps, with a checkpoint written where `to` is given.
    """
    plan = plan or Plan()
    with joined() as crew, hearing() as stop:
        job = agreed(model, data, recipe, plan, held, crew.size * plan.accumulate)
        device = next(model.parameters()).device
        training = begun(model, job, device)
        keeper = Keeper(to, training, job.description(model), crew, save_every)
        with keeper.alone():
            keeper.resume()
            with Stepper(recipe, plan, training, crew, device) as stepper:
                while not over(training.standing.history, plan):
                    one_epoch(job, stepper, keeper, stop, tell or _silent)
        return result(job, training, keeper)


def begun(model: nn.Module, job: Job, device: torch.device) -> Training:
    """What is trained, before the first step."""
    plan = job.plan
    with no_trace(numbers(plan.seed, torch.zeros(1, dtype=torch.int64), BEGIN, 0)):
        trained = job.recipe.prepare(model).to(device)
    try:
        trained.train()
    except NotImplementedError as error:
        raise UserError(
            f"this model cannot be put into training mode ({error}). Train the code it was made by."
        ) from error
    wanted = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    if not wanted:
        raise UserError("every parameter is frozen; there is nothing to train. Call model.requires_grad_(True).")
    scaler = torch.amp.GradScaler(device.type, enabled=plan.number_format(device) is torch.float16)
    return Training(trained, plan.stepper(wanted), scaler, None if plan.average == "none" else Average(trained))


def over(lines: list[Epoch], plan: Plan) -> bool:
    """Whether all epochs are done, or nothing better came for as long as the plan has patience."""
    patience = None if plan.evaluation is None else plan.evaluation.patience
    return len(lines) >= plan.epochs or (patience is not None and history.since_best(lines) >= patience)


def one_epoch(job: Job, stepper: Stepper, keeper: Keeper, stop: Stop, tell: Tell) -> None:
    """The batches of an epoch that are left, then its evaluation, then its checkpoint."""
    training, plan = stepper.training, job.plan
    at = training.standing
    epoch = len(at.history)
    training.trained.train()
    batches = in_batches(job.ids, plan.batch, plan.seed, epoch)
    for rows in batches[at.batch :]:
        began = time.monotonic()
        stopping, due = one_batch(job, stepper, rows, epoch, len(batches), (stop.asked, keeper.due))
        at.seconds += time.monotonic() - began
        tell(Progress(epoch, at.batch, len(batches), at.lost / at.rows))
        if stopping or due:
            keeper.save()
        if stopping:
            raise KeyboardInterrupt
    began = time.monotonic()
    try:
        with stop.at_once():
            weights, average, verdict = evaluated(job, stepper, epoch)
    except KeyboardInterrupt:
        keeper.save()
        raise
    training.average = average
    seconds = at.seconds + time.monotonic() - began
    line = Epoch(epoch + 1, at.lost / at.rows, stepper.rate, seconds, **({} if verdict is None else asdict(verdict)))
    at.finish(line)
    if history.best(at.history) is line or (plan.evaluation is None and over(at.history, plan)):
        keeper.keep_best(weights.state_dict(), asdict(line))
    keeper.save()
    tell(Progress(epoch, len(batches), len(batches), line.loss, line))


def one_batch(
    job: Job, stepper: Stepper, rows: Tensor, epoch: int, batches: int, asked: tuple[bool, bool]
) -> tuple[bool, bool]:
    """The steps on one batch: one, or as many as the recipe replays. Gives what any process asked for."""
    at, crew = stepper.training.standing, stepper.crew
    parts = [job.read(part, epoch, stepper.device) for part in crew.part(rows, job.plan.accumulate)]
    steps = job.plan.epochs * batches * job.recipe.replays
    for _ in range(job.recipe.replays):
        done = at.step / steps
        lost = stepper.loss(parts, len(rows), done)
        loss, *wanted = crew.total(torch.tensor([lost, *asked], dtype=torch.float64)).tolist()
        if not math.isfinite(loss):
            raise diverged(loss, epoch, at.step, rows)
        stepper.take(done)
        at.lost += loss * len(rows)
        at.rows += len(rows)
    at.batch += 1
    return wanted[0] > 0, wanted[1] > 0


def result(job: Job, training: Training, keeper: Keeper) -> Trained:
    """The best weights, in the model as it is to be used."""
    lines = training.standing.history
    assert keeper.best is not None
    training.trained.load_state_dict(keeper.best)
    model = job.recipe.finish(training.trained).eval()
    return Trained(
        model,
        tuple(lines),
        history.best(lines) or lines[-1],
        tuple(history.doubts(lines, threat_of(job.recipe) is not None)),
    )


def diverged(loss: float, epoch: int, step: int, rows: Tensor) -> Diverged:
    """What is said of a loss that is no number."""
    some = ", ".join(map(str, rows[:8].tolist())) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
    error = Diverged(
        f"the loss is {loss} in epoch {epoch + 1}, step {step + 1}, on the rows {some}. The step was not taken, and "
        "the last checkpoint is whole. Most likely the rate is too high: lower lr, add a warmup, or cut the gradients "
        "(clip = 1.0); if it comes back on the same rows, look at these."
    )
    error.rows = rows
    return error


def _silent(progress: Progress) -> None:
    """Nobody listens."""
