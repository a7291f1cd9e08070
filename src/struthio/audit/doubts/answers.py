"""Doubts that the answers alone give away: no gradient is taken here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor, nn

from struthio.audit.doubts.kinds import Doubt
from struthio.audit.doubts.probe import Probe, SoftMargin, apart, soft_margin
from struthio.models import declared_random
from struthio.models.contract import looks_like_probabilities
from struthio.types import Model

CHANGING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
ROUNDING = 1e-3  # of the spread of a row's scores: kernels differ by some 1e-6, half precision by 1e-3
SAME = 1e-6  # of the spread: rounding in another order
DRAWS = 8
FEW = 8  # rows, of which each draw is asked; all rows are asked twice
JUMP = 0.1  # the threshold of indicator I2, arXiv 2106.09947


def training_mode(probe: Probe) -> Iterator[Doubt]:
    """Batch-norm or dropout layers that are in training mode."""
    names = in_training(probe.model)
    if names:
        shown = ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
        yield Doubt(
            "training-mode", f"{len(names)} layers are in training mode: {shown}.", numbers={"layers": len(names)}
        )


def in_training(model: Model) -> list[str]:
    """The names of the layers whose answers their training mode changes."""
    parts = model.named_modules() if isinstance(model, nn.Module) else ()
    return [name for name, part in parts if part.training and isinstance(part, CHANGING) and getattr(part, "p", 1) > 0]


def constant(probe: Probe) -> Iterator[Doubt]:
    """The same scores for all rows, for noise of the radius and for whatever else is allowed without a radius.

    Labels alone are no scores: rows of one class, and noise, may well get the same.
    """
    if looks_like_labels(probe.clean) or not _same(probe.clean, probe.clean[:1]):
        return
    widest = probe.threat.farthest(probe.x)
    free = replace(probe, threat=probe.threat.at(widest.where(widest.isfinite(), 100 * _radius(probe))))
    for draw in range(DRAWS):
        some = free if draw else probe
        if not _same(probe.ask(probe.threat.apply(probe.x, some.nearby(1.0, 150 + draw)), draw), probe.clean[:1]):
            return
    yield Doubt(
        "constant-answers",
        f"{len(probe.x)} rows, and {DRAWS * len(probe.x)} random inputs, all got the same scores: those of class "
        f"{int(probe.clean[0].argmax())}.",
        numbers={"inputs": (DRAWS + 1) * len(probe.x)},
    )


def looks_like_labels(outputs: Tensor) -> bool:
    """Whether every row gives 1 to a class and 0 to all others."""
    return bool(((outputs == 0) | (outputs == 1)).all()) and bool((outputs.sum(1) == 1).all())


def _same(answers: Tensor, others: Tensor) -> bool:
    return not bool((apart(answers, others.expand_as(answers)) > SAME).any())


def _radius(probe: Probe) -> Tensor:
    return torch.as_tensor(probe.threat.eps, dtype=probe.x.dtype, device=probe.x.device)


def randomness(probe: Probe) -> Iterator[Doubt]:
    """The same batch asked twice, and a few of its rows more often; all of them as often, where chance shows."""
    few = probe.few(min(FEW, -(-len(probe.x) // 2)))
    alone = few.clean
    if (
        declared_random(probe.model)
        or differ(probe.clean, probe.ask(probe.x, 1))
        or any(differ(alone, few.ask(few.x, draw)) for draw in range(1, DRAWS))
    ):
        answers = torch.stack([probe.clean, *(probe.ask(probe.x, draw) for draw in range(1, DRAWS))])
        moved = apart(answers, answers[:1]).amax(0)
        classes = answers.argmax(2)
        flips = float((classes != classes[0]).any(0).float().mean())
        yield Doubt(
            "random-outputs",
            f"Asked {DRAWS} times, {float((moved > ROUNDING).float().mean()):.0%} of the rows got different scores, by "
            f"{float(moved.median()):.2g} of their spread, and {flips:.0%} different classes.{_elsewhere(probe)}",
            numbers={"moved": float(moved.median()), "flips": flips, "draws": DRAWS},
        )
        return
    if len(probe.x) > 1:
        moved = apart(alone, probe.clean[: len(alone)])
        share, most = float((moved > ROUNDING).float().mean()), float(moved.max())
        if share > 0:
            yield Doubt(
                "batch-dependent",
                f"In a smaller batch {share:.0%} of the rows are answered differently, by up to {most:.2g} of the "
                "spread of their scores.",
                numbers={"moved": most},
            )


def _elsewhere(probe: Probe) -> str:
    """What has to be said of chance that no seed reaches."""
    if not differ(probe.clean, probe.ask(probe.x)):
        return ""
    return (
        " No seed repeats it: it does not come from the global random numbers of torch, NumPy or Python. So no figure "
        "here will come out the same again to the last bit, and a folder cannot tell this model from another."
    )


def differ(answers: Tensor, others: Tensor) -> bool:
    """Whether some row's scores [n, classes] are further apart than rounding puts them."""
    return bool((apart(answers, others) > ROUNDING).any())


def scale(probe: Probe) -> Iterator[Doubt]:
    """Probabilities, saturated logits, too few classes."""
    outputs = probe.clean
    if looks_like_probabilities(outputs):
        sure = float((outputs.amax(1) > 1 - 1e-6).float().mean())
        yield Doubt(
            "probabilities",
            f"Every row of scores is nowhere negative and sums to 1; in {sure:.0%} of them one class has all.",
            numbers={"sure": sure},
        )
    lost = float(saturated(outputs).float().mean())
    if lost > 0.05:  # a plainly trained network has a few very sure rows, and they can be attacked by the margin
        top = outputs.topk(2, dim=1).values
        gap = float((top[:, 0] - top[:, 1]).median())
        yield Doubt(
            "saturated",
            f"In {lost:.0%} of the rows the slope of the cross-entropy is lost in rounding; the two strongest scores "
            f"are {gap:.3g} apart (median).",
            numbers={"lost": lost, "gap": gap},
        )
    if outputs.shape[1] < 4:
        yield Doubt(
            "few-classes",
            f"The model tells {outputs.shape[1]} classes apart; targeted DLR compares four.",
            numbers={"classes": outputs.shape[1]},
        )


def saturated(outputs: Tensor) -> Tensor:
    """Rows whose cross-entropy has a slope below 1e-20 at its own class: a few more factors and float32 has none."""
    if looks_like_probabilities(outputs):
        return outputs.topk(2, dim=1).values[:, 1] < 1e-20
    top = outputs.argmax(1)
    return soft_margin(outputs.double(), top).exp() < 1e-20


def noise(probe: Probe) -> Iterator[Doubt]:
    """Answers under noise: far smaller than the radius (indicator I2 of arXiv 2106.09947), and as large."""
    labels, clean = probe.labels, probe.clean
    before = probe.goal.score(SoftMargin(), clean)
    floor = 0.1 * (clean.amax(1) - clean.amin(1)) if not looks_like_probabilities(clean) else torch.ones_like(before)
    tiny: list[Tensor] = []
    for draw in range(DRAWS):
        after = probe.score(probe.nearby(0.02, 100 + draw))
        tiny.append(((after - before).abs() / before.abs().maximum(floor)).clamp(max=1))
        jump = torch.stack(tiny).mean()
        if draw and float(jump) < JUMP / 4:  # two draws on all rows, and nothing to be seen
            break
    if float(jump) > JUMP:
        yield Doubt(
            "unstable-answers",
            f"Noise of 1/50 of the radius changes the margin by {float(jump):.0%} of its size on average.",
            numbers={"jump": float(jump)},
        )
    right = float((clean.argmax(1) == labels).double().mean())
    bar = right + 3 * sqrt(max(right * (1 - right), 0.02) / len(labels))
    if bar >= 1:  # no noise could make it better by so much
        return
    noisy = [probe.ask(probe.threat.apply(probe.x, probe.nearby(1.0, 200 + draw)), 200 + draw) for draw in range(DRAWS)]
    kinder = float(torch.stack([(outputs.argmax(1) == labels).double().mean() for outputs in noisy]).mean())
    if kinder > bar:
        yield Doubt(
            "better-under-noise",
            f"{right:.0%} of the clean rows are right, and {kinder:.0%} under random noise of the radius.",
            numbers={"clean": right, "noisy": kinder},
        )
