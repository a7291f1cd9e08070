"""The weights after an epoch, averaged where the plan says so, and how good they are."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from struthio.attacks.base import no_trace
from struthio.train.batches import STATISTICS, in_batches, numbers
from struthio.train.job import Job
from struthio.train.judge import Verdict, judge
from struthio.train.recipe import Moment
from struthio.train.stepper import Stepper
from struthio.train.weights import Average, fresh_statistics

ENOUGH = 50  # batches from which averaged weights take their statistics of batch-norm


def evaluated(job: Job, stepper: Stepper, epoch: int) -> tuple[nn.Module, Average | None, Verdict | None]:
    """The weights after an epoch and how good they are. Nothing is changed: the new average comes back."""
    training, plan, crew = stepper.training, job.plan, stepper.crew
    average, weights = copy.deepcopy(training.average), training.trained
    if average is not None and plan.average == "swa" and (epoch + 1) / plan.epochs > plan.average_from:
        average.swa(training.trained)
    due = epoch + 1 == plan.epochs or (plan.evaluation is not None and (epoch + 1) % plan.evaluation.every == 0)
    if average is not None and int(average.count):
        weights = average.model
        if plan.average == "swa" and due:
            gather_statistics(job, weights, training.kept, epoch, stepper.device)
    if plan.evaluation is None or not due:
        return weights, average, None
    used = crew.same(job.recipe.finish(copy.deepcopy(weights))).eval()
    verdict = judge(used, job.judged, job.judged_ids, job.threat, plan.evaluation.attack, plan.batch, plan.seed, crew)
    return weights, average, verdict


def gather_statistics(job: Job, model: nn.Module, kept: dict[str, Tensor], epoch: int, device: torch.device) -> None:
    """Statistics of batch-norm from what the recipe shows the model; losses are not followed."""
    with fresh_statistics(model) as any_there:
        if not any_there:
            return
        for number, rows in enumerate(in_batches(job.ids, job.plan.batch, job.plan.seed, epoch)[:ENOUGH]):
            ids, x, y = job.read(rows, epoch, device)
            drawn = numbers(job.plan.seed, ids, STATISTICS, number)
            with no_trace(drawn):
                job.recipe.loss(model, x, y, Moment(drawn, 1.0, kept={name: one.clone() for name, one in kept.items()}))
