"""Everything that training needs to go on as if nothing had happened, in one file that is whole or absent."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from struthio.checks import UserError
from struthio.data.files import replacing, settle
from struthio.train.history import Epoch
from struthio.train.weights import Average

CHECKPOINT, BEST, RESULT = "checkpoint.safetensors", "best.safetensors", "model.safetensors"


@dataclass
class Standing:
    """How far training has come; all numbers that are no tensors.

    Attributes:
        history: the finished epochs.
        batch: how many batches of the next one are done.
        step: how many steps of the optimiser in all.
        lost: the sum of the losses of the rows seen in this epoch.
        rows: how many these are.
        seconds: how long this epoch took so far.
    """

    history: list[Epoch] = field(default_factory=list)
    batch: int = 0
    step: int = 0
    lost: float = 0.0
    rows: int = 0
    seconds: float = 0.0

    def finish(self, line: Epoch) -> None:
        """An epoch ends with this line."""
        self.history.append(line)
        self.batch, self.lost, self.rows, self.seconds = 0, 0.0, 0, 0.0


@dataclass
class Training:
    """What a checkpoint holds: what is trained, what the optimiser, the average and the recipe remember."""

    trained: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: Average | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)

    def tensors(self, kept: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """All tensors by name; `kept` is what the recipe remembers in each process."""
        named = {f"model/{name}": value for name, value in self.trained.state_dict().items()}
        if self.average is not None:
            named |= {f"average/{name}": value for name, value in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            named |= {f"optimizer/{index}/{key}": value for key, value in state.items() if isinstance(value, Tensor)}
        for rank, remembered in enumerate(kept):
            named |= {f"kept/{rank}/{name}": value for name, value in remembered.items()}
        return named

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], rank: int, size: int) -> None:
        """Put everything back. Raises UserError for a checkpoint of another architecture or number of processes."""
        fitting(self.trained, part(tensors, "model/"), "the checkpoint")
        if self.average is not None:
            self.average.load_state_dict(part(tensors, "average/"))
        state: dict[int, dict[str, Any]] = {}
        for name, value in part(tensors, "optimizer/").items():
            index, _, key = name.partition("/")
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.scaler.load_state_dict(facts["scaler"])
        device = next(self.trained.parameters()).device
        if part(tensors, "kept/") and facts["processes"] != size:
            raise UserError(
                f"the checkpoint was written by {facts['processes']} processes and this recipe remembers something in "
                f"each; {size} cannot go on with it. Start as many as before."
            )
        self.kept = {name: value.to(device) for name, value in part(tensors, f"kept/{rank}/").items()}
        standing = dict(facts["standing"])
        self.standing = Standing(**standing | {"history": [Epoch(**epoch) for epoch in standing["history"]]})


def save(path: Path, training: Training, job: Mapping[str, Any], kept: list[dict[str, Tensor]]) -> None:
    """Write a checkpoint in place of the one before. Raises UserError where it cannot be written; the one before stays.

    Args:
        path: the file.
        training: what is kept.
        job: what is being trained and how, by names; only the same job may go on with it.
        kept: what the recipe remembers in each process.
    """
    facts = {
        "job": dict(job),
        "standing": asdict(training.standing),
        "scaler": training.scaler.state_dict(),
        "processes": len(kept),
    }
    write(path, training.tensors(kept), facts)


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts so that they are on the disk, whole, when this returns."""
    copied = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    data = save_tensors(copied, {"struthio": json.dumps({**facts, "checksum": _checksum(copied)})})
    with replacing(path) as beside, beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    settle(path.parent)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts of a file. Raises UserError where it is torn, damaged or of another kind."""
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {}).get("struthio", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path} is no whole checkpoint ({error}): torn, or changed since it was written. Bring it back from a "
            "copy, or remove it and train again."
        ) from error
    if not isinstance(told, dict) or "checksum" not in told:
        raise UserError(f"{path} was not written by struthio's training. Name another folder.")
    if told["checksum"] != _checksum(tensors):
        raise UserError(f"{path} is damaged: its checksum is wrong. Bring it back from a copy, or train again.")
    return tensors, told


def same_job(path: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with another job, saying what differs."""
    lines = [
        f"\n  {key}: {was.get(key)!s} there, {now.get(key)!s} here"
        for key in {**was, **now}
        if was.get(key) != now.get(key)
    ]
    if lines:
        raise UserError(
            f"{path.parent} holds the training of another job, so this one cannot go on with it. What differs:"
            f"{''.join(lines)}\nName another folder, or remove that one."
        )


def fitting(model: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a state into a model, or say plainly why it is of another architecture."""
    own = model.state_dict()
    for name in sorted({*own, *state}):
        there, here = (tuple(s[name].shape) if name in s else None for s in (state, own))
        if there != here:
            missing = "it has none of that name" if there is None else f"it has {there}"
            wanted = "the model none" if here is None else f"the model {here}"
            raise UserError(f"{what} is of another architecture: of {name!r}, {missing} and {wanted}.")
    model.load_state_dict(state)


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins so, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def sweep(folder: Path) -> None:
    """Remove what a kill left of files that were being written."""
    for name in (CHECKPOINT, BEST, RESULT):
        for beside in folder.glob(f".{name}.*.part"):
            with suppress(OSError):
                beside.unlink()


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    total = 0
    for name in sorted(tensors):
        value = tensors[name].contiguous().flatten()
        total = zlib.crc32(name.encode(), total)
        if value.numel():
            total = zlib.crc32(value.view(torch.uint8).numpy().data, total)
    return total
