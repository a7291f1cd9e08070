"""Past one process: the same tasks in this process, in several, or on a cluster, with the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from struthio import checks, rays
from struthio.audit.crew import Crew, shared_out
from struthio.checks import UserError

T = TypeVar("T")
R = TypeVar("R")


def spread(
    build: Callable[[], Callable[[T], R]], tasks: Iterable[T], workers: int | str | None = None
) -> Iterator[tuple[T, R]]:
    """Do every task somewhere, and yield it with its answer.

    Alone, tasks are done one after another, each when it is asked for. Workers answer in any order; tasks are taken
    when a worker has room for them, at most two each. A worker that dies is replaced and its tasks are done again. What
    a task raises is raised here, with a note of where it happened; closing the iterator ends all workers at once.

    Raises UserError for workers that cannot be meant or reached, for a task over which three workers died, and for
    workers that die before they begin.

    Args:
        build: called once in every worker, to load model and data; gives the function that does one task. With workers
            it must be picklable (a function of a module, `functools.partial` of one, a dataclass with `__call__`).
        tasks: small, such as numbers of batches. An answer is sent whole: `tensor[:3]` takes all of `tensor` along
            unless it is cloned.
        workers: None or 1: this process. N: as many processes of this machine, which share its threads and GPUs.
            "ray" or "ray:N": a Ray cluster of this machine, with N actors or one for each GPU (core, where there is
            none). "ray:auto": the cluster that this machine is part of. "ray://host:port": one that is reached through
            its client port. The extra `ray` is needed.
    """
    size, address = meant(workers)
    if address is not None:
        checks.need("ray", "ray")
        return shared_out(lambda: _cluster(build, address, size), tasks)
    if size == 1:
        return _here(build, tasks)
    return shared_out(lambda: _processes(build, size or 1), tasks)


def expect(workers: int | str | None) -> None:
    """Refuse workers that cannot be meant, and begin to load what processes of this machine will need."""
    size, address = meant(workers)
    if address is None and size != 1:
        from struthio.audit.processes import get_ready

        get_ready()


def meant(workers: int | str | None) -> tuple[int | None, str | None]:
    """How many workers (None: as many as there is room for), and the address of a cluster ("" for one of our own).

    Raises UserError for what cannot be meant.
    """
    words = str(1 if workers is None else workers)
    if words.isdecimal() and int(words) > 0 and not isinstance(workers, bool):
        return int(words), None
    named = rays.named(words)
    if named is None:
        raise UserError(f"workers is {workers!r}; it must be a whole number of at least 1, {rays.FORMS}.")
    return named[0], named[1] or ""


def _here(build: Callable[[], Callable[[T], R]], tasks: Iterable[T]) -> Iterator[tuple[T, R]]:
    do = build()
    for task in tasks:
        yield task, do(task)


def _processes(build: Callable[[], Callable[[T], R]], size: int) -> Crew:
    from struthio.audit.processes import Processes

    return Processes(build, size)


def _cluster(build: Callable[[], Callable[[T], R]], address: str, size: int | None) -> Crew:
    from struthio.audit.cluster import Cluster

    return Cluster(build, address or None, size)
