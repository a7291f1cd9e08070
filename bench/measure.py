"""One clock, one counter and one judge for every tool."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.jobs import Job, Tool


@dataclass(frozen=True)
class Passes:
    """Forwards and backwards a row, summed over an attack and divided by the rows of the batch."""

    forwards: float
    backwards: float


def once(tool: Tool, job: Job) -> tuple[float, float]:
    """Seconds until a tool has returned its inputs, and until each row's success is known (see `clock`).

    The tools that name no success need one forward more for it, as whoever uses them does.
    """
    gc.collect()
    start = clock(job.x.device)
    x_adv, won = tool.run()
    found = clock(job.x.device) - start
    if won is None:
        answers(job.model, x_adv)
    return found, clock(job.x.device) - start


def clock(device: torch.device) -> float:
    """Seconds that this process has computed, so that others on the machine do not count; of the wall on a GPU."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


@torch.no_grad()
def answers(model: nn.Module, x: Tensor) -> Tensor:
    """The class of each row, int64 [n]."""
    return model(x).argmax(1)


def won(job: Job, x_adv: Tensor) -> Tensor:
    """Which rows are won, bool [n]: another class on the model as given, within the radius to 1e-6 and [0, 1]."""
    change = torch.linalg.vector_norm((x_adv - job.x).flatten(1), ord=job.norm, dim=1)
    pixels = (x_adv.flatten(1).amin(1) >= 0) & (x_adv.flatten(1).amax(1) <= 1)
    return (answers(job.model, x_adv) != job.y) & (change <= job.eps + 1e-6) & pixels


def counted(tool: Tool, rows: int) -> tuple[Tensor, Passes]:
    """What a tool finds, and the rows that passed forward and backward through the models it asks, for each row."""
    forwards, backwards = [], []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        forwards.append(len(out))
        if out.requires_grad:
            out.register_hook(lambda grad: backwards.append(len(grad)))

    handles = [model.register_forward_hook(hook) for model in tool.models]
    try:
        x_adv, _ = tool.run()
    finally:
        for handle in handles:
            handle.remove()
    return x_adv.detach(), Passes(sum(forwards) / rows, sum(backwards) / rows)
