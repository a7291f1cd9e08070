"""How long, how fast and how carefully is trained: everything about training that is not the loss."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.pgd import PGD
from struthio.types import Threat

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "piecewise", "cyclic")
PRECISIONS = ("auto", "float32", "bf16", "fp16")
AVERAGES = ("none", "ema", "swa")


@dataclass(frozen=True)
class Evaluation:
    """What is looked at while training goes on; the weights of the best robust accuracy are those that are kept.

    Args:
        threat: what may change; None takes the recipe's own `threat`, and a recipe without one is judged on clean rows.
        attack: how the rows are attacked.
        rows: how many rows; where no other data is given for it, so many are kept out of training.
        every: after how many epochs; always after the last.
        patience: training stops when so many evaluations in a row bring nothing better; None never stops early.

    Raises:
        UserError: for counts below 1.
    """

    threat: Threat | None = None
    attack: Attack = field(default_factory=lambda: PGD(steps=10))
    rows: int = 500
    every: int = 1
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("rows", "every"):
            checks.count(getattr(self, name), name)
        if self.patience is not None:
            checks.count(self.patience, "patience")


@dataclass(frozen=True)
class Plan:
    """How a model is trained, whatever the loss.

    Args:
        epochs: how often every row is seen.
        batch: rows in a step, over all processes; an epoch is cut into batches of nearly equal size, none larger.
        optimizer: "sgd", "adam" or "adamw".
        lr: the highest learning rate.
        momentum: of sgd.
        nesterov: whether sgd looks ahead.
        weight_decay: on all parameters.
        schedule: "constant"; "cosine" falls to 0 along half a cosine; "piecewise" is multiplied by `factor` at each of
            the `milestones`; "cyclic" rises linearly to `lr` at `peak` and falls linearly to 0 (one cycle).
        milestones: shares of training, in [0, 1].
        factor: of the piecewise schedule.
        peak: the share of training at which the cyclic schedule is highest.
        warmup: the share of training over which the rate first rises from 0, whatever the schedule.
        shift: pictures are moved by up to so many pixels each way, zeros coming in; 4 is CIFAR's padded crop.
        flip: half of the pictures are mirrored left to right.
        accumulate: a batch is worked off in so many parts, for memory's sake; the step is that of the whole batch.
        precision: "float32"; "bf16" or "fp16" under autocast, fp16 with a scaled loss; "auto" is bf16 on a GPU that
            has it and float32 elsewhere. On CPUs without bf16 units, bf16 is many times slower.
        clip: gradients are cut to this L2 norm; None leaves them.
        average: "none"; "ema", a running mean over steps; "swa", the mean of the ends of late epochs, with statistics
            of batch-norm taken anew. It is the mean that is judged and kept.
        decay: of "ema", per step; less at the start, where it is (1 + steps) / (10 + steps).
        average_from: the share of training from which "swa" averages.
        evaluation: what is looked at on the way; None: nothing, and the last weights are kept.
        seed: of the order of rows, the augmentation and all that recipes draw.

    Raises:
        UserError: for an option that cannot be meant.
    """

    epochs: int = 30
    batch: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    peak: float = 0.4
    warmup: float = 0.0
    shift: int = 0
    flip: bool = False
    accumulate: int = 1
    precision: str = "auto"
    clip: float | None = None
    average: str = "none"
    decay: float = 0.999
    average_from: float = 0.75
    evaluation: Evaluation | None = field(default_factory=Evaluation)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate"):
            checks.count(getattr(self, name), name)
        for name, known in (
            ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS), ("average", AVERAGES),
        ):  # fmt: skip
            checks.one_of(getattr(self, name), known, name)
        checks.positive(self.lr, "lr")
        for name in ("momentum", "weight_decay", "warmup", "shift", "factor", "decay", "average_from"):
            checks.not_negative(getattr(self, name), name)
        for name in ("momentum", "warmup", "decay", "average_from"):
            if getattr(self, name) >= 1:
                raise checks.UserError(f"{name} is {getattr(self, name):g}; a number in [0, 1) is needed.")
        if self.clip is not None:
            checks.positive(self.clip, "clip")
        if not 0 < self.peak < 1:
            raise checks.UserError(f"peak is {self.peak:g}; a share of training between 0 and 1 is needed.")
        for share in self.milestones:
            if not 0 <= share <= 1:
                raise checks.UserError(
                    f"milestones holds {share:g}; shares of training in [0, 1] are needed, such as 0.5 for half of it."
                )
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise checks.UserError('nesterov looks ahead along a momentum: it needs optimizer="sgd" and momentum > 0.')

    def rate(self, done: float) -> float:
        """The learning rate when this share of training lies behind."""
        risen = min(1.0, done / self.warmup) if self.warmup else 1.0
        return self.lr * risen * self._share_of_rate(done)

    def _share_of_rate(self, done: float) -> float:
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "piecewise":
            return self.factor ** sum(done >= share for share in self.milestones)
        if self.schedule == "cyclic":
            return done / self.peak if done < self.peak else (1 - done) / (1 - self.peak)
        return 1.0

    def stepper(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters; its rate is set anew before every step."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
            )
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, self.lr, weight_decay=self.weight_decay)

    def number_format(self, device: torch.device) -> torch.dtype:
        """What autocast computes in on this device; float32 is none. Raises UserError for fp16 on a CPU."""
        if self.precision == "auto":
            able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            return torch.bfloat16 if able else torch.float32
        if self.precision == "fp16" and device.type == "cpu":
            raise checks.UserError('precision="fp16" needs a GPU; on a CPU take "float32".')
        return {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no value is NaN or infinite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors if tensor.is_floating_point())
