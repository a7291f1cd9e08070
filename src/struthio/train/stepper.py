"""One step of training: the gradient of a batch's loss, in parts and over all processes, and the optimiser's step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from struthio.attacks.base import no_trace
from struthio.train.batches import AFTER, LOSS, numbers
from struthio.train.checkpoint import Training
from struthio.train.crew import Crew
from struthio.train.plan import Plan
from struthio.train.recipe import Moment, Recipe

Part = tuple[Tensor, Tensor, Tensor]  # ids, inputs, labels


class Lesson(nn.Module):
    """A recipe's loss as the forward of a module, which is what DDP wraps: however many forwards of the model are in
    it, gradients are sent once.
    """

    def __init__(self, recipe: Recipe, trained: nn.Module) -> None:
        super().__init__()
        self.recipe, self.trained = recipe, trained

    def forward(self, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean loss of a batch, a scalar."""
        return self.recipe(self.trained, x, y, moment)


class Stepper:
    """Takes steps.

    Args:
        recipe: the loss.
        plan: rate, precision, clipping.
        training: what is trained, and what the optimiser and the recipe remember; changed with every step.
        crew: the processes that share each batch.
        device: where the model is.
    """

    def __init__(self, recipe: Recipe, plan: Plan, training: Training, crew: Crew, device: torch.device) -> None:
        self.recipe, self.plan, self.training, self.crew, self.device = recipe, plan, training, crew, device
        self.format = plan.number_format(device)
        self.rate = plan.rate(0.0)
        self.lesson = crew.together(Lesson(recipe, training.trained))

    def __enter__(self) -> Stepper:
        return self

    def __exit__(self, *why: object) -> None:
        """Let go of DDP before the processes part; the other way round, torch's threads may wait for ever."""
        self.lesson = Lesson(self.recipe, self.training.trained)

    def loss(self, parts: list[Part], rows: int, done: float) -> float:
        """Set the gradient of the mean loss over a batch of `rows` rows, of which these parts are this process's.

        Gives their share of that mean; the shares of all processes add up to it.
        """
        self.training.optimizer.zero_grad(set_to_none=True)
        step, lost = self.training.standing.step, 0.0
        for number, (ids, x, y) in enumerate(parts):
            drawn = numbers(self.plan.seed, ids, LOSS, step)
            last = number + 1 == len(parts)
            with self.crew.sending(self.lesson, last), no_trace(drawn):
                with torch.autocast(self.device.type, self.format, enabled=self.format is not torch.float32):
                    loss = self.lesson(x, y, Moment(drawn, done, step, self.training.kept))
                weighed = loss * (len(ids) / rows)
                self.training.scaler.scale(weighed * self.crew.size).backward()  # DDP gives the mean over processes
            lost += float(weighed.detach())
        return lost

    def take(self, done: float) -> None:
        """Follow the gradient that was set."""
        training = self.training
        self.rate = self.plan.rate(done)
        for group in training.optimizer.param_groups:
            group["lr"] = self.rate
        if self.plan.clip is not None:
            training.scaler.unscale_(training.optimizer)
            nn.utils.clip_grad_norm_(training.trained.parameters(), self.plan.clip)
        training.scaler.step(training.optimizer)
        training.scaler.update()
        drawn = numbers(self.plan.seed, torch.zeros(1, dtype=torch.int64), AFTER, training.standing.step)
        with torch.no_grad(), no_trace(drawn):
            self.recipe.after_step(training.trained, Moment(drawn, done, training.standing.step, training.kept))
        if training.average is not None and self.plan.average == "ema":
            training.average.ema(training.trained, self.plan.decay)
        training.standing.step += 1
