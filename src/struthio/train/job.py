"""What is trained on what, agreed before the first step: rows, labels, threat, recipe and plan."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.attacks.base import no_trace
from struthio.checks import UserError
from struthio.data import Samples, load_data
from struthio.describe import describe
from struthio.put_back import in_mode
from struthio.train.batches import AUGMENT, BEGIN, augmented, held_back, numbers
from struthio.train.plan import Plan
from struthio.train.recipe import Recipe
from struthio.types import Threat

Data = Samples | tuple[Tensor, Tensor] | str


class TrainingWarning(UserWarning):
    """Training goes on, but something about it is likely not meant."""


@dataclass(frozen=True)
class Job:
    """Everything on which the trained weights depend, beside those that the model begins with.

    Attributes:
        recipe: the loss.
        plan: everything else about training.
        samples: the rows trained on are among them, with these ids.
        ids: int64 [n].
        judged: the rows of the evaluation are among these, with these ids.
        judged_ids: int64 [m]; empty where nothing is evaluated.
        threat: of the evaluation; None: clean rows alone.
    """

    recipe: Recipe
    plan: Plan
    samples: Samples
    ids: Tensor
    judged: Samples
    judged_ids: Tensor
    threat: Threat | None

    def read(self, rows: Tensor, epoch: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, inputs moved and mirrored as in this epoch, and labels, on the device."""
        assert self.samples.y is not None
        ids = rows.to(device)
        x, y = self.samples.x[rows].to(device), self.samples.y[rows].to(device)
        drawn = numbers(self.plan.seed, ids, AUGMENT, epoch)
        return ids, augmented(x, drawn, self.plan.shift, self.plan.flip), y

    def description(self, model: nn.Module) -> dict[str, Any]:
        """The job as a checkpoint tells it, so that another one does not go on with it."""
        plan, recipe = (
            {name: describe(value) for name, value in vars(part).items()} for part in (self.plan, self.recipe)
        )
        return {
            "recipe": type(self.recipe).__name__,
            **{f"recipe.{name}": text for name, text in recipe.items()},
            **{f"plan.{name}": text for name, text in plan.items()},
            "data": self.samples.name,
            "rows": len(self.ids),
            "first rows": _digest(self.samples, self.ids),
            "evaluated on": self.judged.name,
            "first rows evaluated": _digest(self.judged, self.judged_ids),
            "model": type(model).__name__,
        }


def agreed(model: nn.Module, data: Data, recipe: Recipe, plan: Plan, held: Data | None, shares: int = 1) -> Job:
    """Check all that was asked for. Raises UserError for what cannot be meant; warns of classes without rows.

    Args:
        model: what is trained.
        data: labelled rows.
        recipe: the loss.
        plan: everything else.
        held: rows for the evaluation, or None.
        shares: into how many parts each batch is cut, over all processes.
    """
    size = getattr(model, "input_size", None)
    samples = _labelled(data, size)
    judged = samples if held is None else _labelled(held, size)
    ids, none = torch.arange(len(samples)), torch.arange(0)
    threat, judged_ids = None, none
    if plan.evaluation is not None:
        threat = plan.evaluation.threat or threat_of(recipe)
        if held is None:
            ids, judged_ids = held_back(ids, plan.evaluation.rows, plan.seed)
        else:
            judged_ids = torch.arange(min(len(judged), plan.evaluation.rows))
        if not len(judged_ids):
            raise UserError(f"of {len(samples)} rows none can be kept out for the evaluation; give others: held=...")
    smallest = len(ids) // -(-len(ids) // plan.batch)
    if smallest < shares:
        raise UserError(
            f"batches of {smallest} rows cannot be cut into {shares} parts (processes times accumulate). Take a larger "
            "batch, or fewer parts."
        )
    job = Job(recipe, plan, samples, ids, judged, judged_ids, threat)
    _check_rows(model, job)
    return job


def threat_of(recipe: Recipe) -> Threat | None:
    """What a recipe trains against: its own threat, or that of the recipe which it wraps."""
    inner = getattr(recipe, "recipe", None)
    found: Threat | None = getattr(recipe, "threat", None)
    return threat_of(inner) if found is None and isinstance(inner, Recipe) else found


def _labelled(data: Data, size: Any) -> Samples:
    if isinstance(data, str):
        data = load_data(data, size)
    elif not isinstance(data, Samples):
        data = Samples(data[0], data[1], name=f"{len(data[0])} rows")
    if data.y is None:
        raise UserError(
            f"{data.name} has no labels, and training needs them. `struthio list data` shows what has some."
        )
    return data


@torch.no_grad()
def _check_rows(model: nn.Module, job: Job) -> None:
    """Ask about two rows; compare what the threats and the model expect with what the data holds."""
    device = next((parameter.device for parameter in model.parameters()), None)
    if device is None:
        raise UserError(f"{type(model).__name__} has no parameters; there is nothing to train.")
    _, x, _ = job.read(job.ids[:2], 0, device)
    for threat in {id(one): one for one in (job.threat, threat_of(job.recipe)) if one is not None}.values():
        threat.check(x)
    with in_mode(model, False), no_trace(numbers(job.plan.seed, job.ids[:1], BEGIN, 0)):
        outputs = model(x)
    checks.outputs(outputs, len(x))
    for data in (job.samples, job.judged):
        _check_labels(data, outputs.shape[1])


def _check_labels(data: Samples, classes: int) -> None:
    assert data.y is not None
    present = set(data.y.unique().tolist())
    if max(present) >= classes:
        raise UserError(
            f"{data.name} has labels up to {max(present)}, but the model knows classes 0 to {classes - 1}. Check that "
            "the data belongs to this model."
        )
    missing = [str(label) for label in range(classes) if label not in present]
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        warnings.warn(
            f"{data.name} has no row of {len(missing)} of the model's {classes} classes ({some}); the model will "
            "unlearn them. Is the data whole, and do its classes start at 0?",
            TrainingWarning,
            stacklevel=4,
        )


def _digest(data: Samples, ids: Tensor) -> str:
    """Of the first rows, and of all their labels."""
    if not len(ids):
        return ""
    assert data.y is not None
    digest = hashlib.sha256(data.x[ids[:8]].contiguous().numpy().tobytes())
    digest.update(data.y[ids].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
