"""How well what fools one model fools another: every model attacked, and all of them asked about what was found.

The form is that of Papernot, McDaniel, Goodfellow (2016, arXiv 1605.07277) and Liu et al. (2017, arXiv 1611.02770): a
row is the model that was attacked, a column the model that judges. A last row asks what chance would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.checks import UserError, near_misses
from struthio.describe import describe
from struthio.explain.matrix import TransferMatrix
from struthio.explain.transfer_text import OVER
from struthio.goals import Untargeted
from struthio.rows import RowGenerator, as_generator
from struthio.types import Model, Threat

BEYOND = 100  # a random change so much enlarged is cut to the full size, even where the limits take most of it


def transfer_matrix(
    models: Mapping[str, Model],
    x: Tensor,
    labels: Tensor,
    attack: Attack | Mapping[str, Attack],
    threat: Threat,
    *,
    sources: Sequence[str] | None = None,
    over: str = "both",
    generator: int | RowGenerator | torch.Generator = 0,
    batch_size: int = 128,
) -> TransferMatrix:
    """Attack every source, and count the errors of every model on what was found.

    Args:
        models: by name; each a callable from a batch to class scores, as for an attack.
        x: the inputs [n, ...], within the limits of the threat.
        labels: their true classes, int64 [n].
        attack: one for all sources, or one each by name, for models that give no gradient. Attacks that go on when the
            source is won transfer best: FGSM, MI-FGSM and those after it.
        threat: what may change, and by how much. The random change of the last row is as large as the largest that an
            attack made to the same input.
        sources: the names of those to attack; all if not said.
        over: which inputs count in a cell: those that "both" source and target classify rightly, that "all" models do,
            or that the "target" does, whatever the source says.
        generator: a seed, a RowGenerator that carries the rows' ids, or a torch.Generator.
        batch_size: rows at once; no answer depends on it.

    Returns:
        A TransferMatrix.

    Raises:
        UserError: for names that are not among the models, and whatever an attack refuses.
    """
    checks.one_of(over, tuple(OVER), "over")
    checks.count(batch_size, "batch_size")
    checks.classes(labels, len(x), "labels")
    names = list(models) if sources is None else list(sources)
    if len(models) < 2 or not names:
        raise UserError(
            f"{len(models)} models and {len(names)} sources were given; two models and a source are needed."
        )
    attacks = _attacks(names, list(models), attack)
    rows, told = as_generator(generator, x), (_told(attacks), describe(threat))
    parts = [
        _counted(models, attacks, x[part], labels[part], threat[part], over, rows[part], told)
        for part in torch.arange(len(x), device=x.device).split(batch_size)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _attacks(names: list[str], known: list[str], attack: Attack | Mapping[str, Attack]) -> dict[str, Attack]:
    for name in names:
        if name not in known:
            raise UserError(f"the source {name!r} is not among the models. {near_misses(name, known, 'models')}")
    if not isinstance(attack, Mapping):
        return dict.fromkeys(names, attack)
    without = [name for name in names if name not in attack]
    if without:
        raise UserError(f"no attack was given for {', '.join(without)}: name one for each source, or leave it out.")
    return {name: attack[name] for name in names}


def _counted(
    models: Mapping[str, Model],
    attacks: dict[str, Attack],
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    over: str,
    rows: RowGenerator,
    told: tuple[str, str],
) -> TransferMatrix:
    """The matrix of one batch."""
    goal = Untargeted(labels)
    right = torch.stack([~goal.success(_asked(model, x)) for model in models.values()])  # [models, n]
    largest = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    wrong, of = [], []
    for name, attack in attacks.items():
        counts = _which(right, list(models).index(name), over)
        attacked = counts.any(0).nonzero().flatten()
        x_adv = x.clone()
        if len(attacked):
            found = attack(models[name], x[attacked], goal[attacked], threat[attacked], rows[attacked])
            x_adv[attacked] = found.x_adv
            largest[attacked] = torch.maximum(largest[attacked], found.size.to(x.dtype).nan_to_num(posinf=0.0))
        fooled = torch.stack([goal.success(_asked(model, x_adv)) for model in models.values()])
        wrong.append((fooled & counts).sum(1))
        of.append(counts.sum(1))
    noisy = random_change(x, threat.at(largest), rows.fold(1))
    fooled = torch.stack([goal.success(_asked(model, noisy)) for model in models.values()])
    counts = right if over != "all" else right.all(0).expand_as(right)
    return TransferMatrix(
        tuple(attacks), tuple(models), torch.stack(wrong).cpu(), torch.stack(of).cpu(),
        (fooled & counts).sum(1).cpu(), counts.sum(1).cpu(), right.sum(1).cpu(),
        len(x), over, *told,
    )  # fmt: skip


def _which(right: Tensor, source: int, over: str) -> Tensor:
    """Which inputs count for each target, bool [models, n]."""
    if over == "all":
        return right.all(0).expand_as(right)
    return right & right[source] if over == "both" else right


@torch.no_grad()
def _asked(model: Model, x: Tensor) -> Tensor:
    return model(x)


@torch.no_grad()
def random_change(x: Tensor, threat: Threat, rows: RowGenerator) -> Tensor:
    """Inputs after a random change of full size: in Linf nearly every value goes up or down by the whole radius."""
    return threat.apply(x, threat.project(x, BEYOND * threat.sample(x, rows)))


def _told(attacks: dict[str, Attack]) -> str:
    told = {name: describe(attack) for name, attack in attacks.items()}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{name}: {what}" for name, what in told.items())
