"""The processes that train together, or the one that trains alone: the same few words for both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from struthio.checks import UserError

T = TypeVar("T")
PATIENCE = timedelta(minutes=10)  # for one that has died; a full evaluation of one process must fit into it
BACKENDS = "cpu:gloo,cuda:nccl"


@dataclass(frozen=True)
class Crew:
    """One of `size` processes, the one with number `rank`; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gathered(self, thing: T) -> list[T]:
        """What each process has, in order."""
        if self.size == 1:
            return [thing]
        things: list[T] = [thing] * self.size
        dist.all_gather_object(things, thing)
        return things

    def once(self, do: Callable[[], T]) -> T:
        """Done by the first process; all are given what came of it, a UserError too."""
        if self.size == 1:
            return do()
        told: list[T | UserError | None] = [None]
        if self.first:
            try:
                told = [do()]
            except UserError as error:
                told = [error]
        dist.broadcast_object_list(told, src=0)
        if isinstance(told[0], UserError):
            raise told[0]
        return told[0]  # type: ignore[return-value]

    def together(self, module: nn.Module) -> nn.Module:
        """The module whose gradients are averaged over all processes as they come: torch's DDP."""
        if self.size == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=True)

    def sending(self, module: nn.Module, now: bool) -> AbstractContextManager[None]:
        """Within, gradients are sent to all, or gathered here for a later time."""
        return nullcontext() if now or not isinstance(module, DistributedDataParallel) else module.no_sync()

    def same(self, module: nn.Module) -> nn.Module:
        """The module with the buffers of the first process: each has seen other rows, and gathered other statistics."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)
        return module

    def part(self, rows: Tensor, parts: int = 1) -> list[Tensor]:
        """The parts of a batch that are this process's; all parts of all processes are nearly equal."""
        return list(rows.tensor_split(self.size * parts)[self.rank * parts : (self.rank + 1) * parts])


@contextmanager
def joined() -> Iterator[Crew]:
    """The crew that this process was started in: by torchrun, by Ray Train, or by nobody.

    A group of processes that was set up before is joined as it is and left standing.
    """
    if dist.is_available() and dist.is_initialized():
        yield Crew(dist.get_rank(), dist.get_world_size())
    elif int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Crew()
    else:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group(BACKENDS if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
        try:
            yield Crew(dist.get_rank(), dist.get_world_size())
        finally:
            dist.destroy_process_group()
