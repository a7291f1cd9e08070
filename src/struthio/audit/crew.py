"""Hand tasks out to workers that may die, and gather what they answer: one loop for local processes and for Ray."""

from __future__ import annotations

import pickle
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from struthio.checks import UserError

T = TypeVar("T")

IN_HAND = 2  # tasks that a worker holds: the one under way, and the next, so that it never waits
TRIES = 3  # how often a task is begun before it is blamed for the deaths of its workers


@dataclass(frozen=True)
class Ready:
    """The worker has built what it needs."""


@dataclass(frozen=True)
class Answer:
    """What came of the oldest task that the worker holds."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """What the oldest task, or the building, raised."""

    error: Exception


@dataclass(frozen=True)
class Died:
    """The worker is no more, and how it ended as far as one knows."""

    how: str


Event = Ready | Answer | Raised | Died


class Worker:
    """What runs far away: builds once, then does task after task. Exceptions are told, not raised."""

    def begin(self, build: Callable[[], Callable[[Any], Any]]) -> Event:
        """Load model and data."""
        try:
            self._do = build()
        except Exception as error:
            return Raised(_portable(error, "while a worker began"))
        return Ready()

    def do(self, task: Any) -> Event:
        """Do one task."""
        try:
            return Answer(self._do(task))
        except Exception as error:
            return Raised(_portable(error, f"in a worker, at task {task!r}"))


class Crew(Protocol):
    """Workers of one kind, each known by a key. Each does its tasks in the order in which they were given."""

    size: int

    def hire(self) -> Any:
        """Start one more worker, without waiting for it."""
        ...

    def give(self, worker: Any, task: Any) -> None:
        """Hand a task to a worker, without waiting. Should it be dead, an event will say so."""
        ...

    def events(self) -> list[tuple[Any, Event]]:
        """Wait until something happens, and say what. A worker that died is forgotten."""
        ...

    def dismiss(self) -> None:
        """End all workers at once, whatever they do."""
        ...


def shared_out(assemble: Callable[[], Crew], tasks: Iterable[T]) -> Iterator[tuple[T, Any]]:
    """Every task with its answer, as they come in; never more than two tasks a worker are under way.

    A worker that dies is replaced, and what it held is done again. Raises what a task raised; UserError for a task
    over which three workers died, and where workers die before they begin.
    """
    crew = assemble()
    try:
        shift = _Shift(crew, tasks)
        while shift.goes_on():
            for worker, event in crew.events():
                if isinstance(event, Raised):
                    raise event.error
                if isinstance(event, Died):
                    shift.replace(worker, event.how)
                elif isinstance(event, Ready):
                    shift.ready.append(worker)
                else:
                    yield shift.held[worker].popleft().task, event.value
            shift.hand_out()
    finally:
        crew.dismiss()


@dataclass
class _Job(Generic[T]):
    task: T
    deaths: int = 0


class _Shift(Generic[T]):
    """Who holds what, and what is still to be handed out."""

    def __init__(self, crew: Crew, tasks: Iterable[T]) -> None:
        self.crew = crew
        self.later = map(_Job[T], tasks)
        self.next = deque(islice(self.later, crew.size))
        self.held: dict[Any, deque[_Job[T]]] = {crew.hire(): deque() for _ in self.next}
        self.ready: list[Any] = []
        self.stillborn = 0

    def goes_on(self) -> bool:
        return self._more() or any(self.held.values())

    def hand_out(self) -> None:
        """A first task to everybody, and only then a second, so that the last ones are spread evenly."""
        for holding in range(IN_HAND):
            for worker in self.ready:
                if len(self.held[worker]) <= holding and self._more():
                    job = self.next.popleft()
                    self.held[worker].append(job)
                    self.crew.give(worker, job.task)

    def replace(self, worker: Any, how: str) -> None:
        """Another in the place of one that died; what it held comes first, and the task under way is suspected."""
        jobs = self.held.pop(worker)
        if worker in self.ready:
            self.ready.remove(worker)
        else:
            self._refuse_stillborn(how)
        if jobs:
            jobs[0].deaths += 1
            if jobs[0].deaths == TRIES:
                raise UserError(
                    f"task {jobs[0].task!r} was begun {TRIES} times, and each time its worker died ({how}). Mostly "
                    "memory is short: take fewer workers or smaller batches."
                )
        self.next.extendleft(reversed(jobs))
        if self._more():
            self.held[self.crew.hire()] = deque()

    def _refuse_stillborn(self, how: str) -> None:
        self.stillborn += 1
        if self.stillborn == TRIES:
            raise UserError(
                f"{TRIES} workers died before they began ({how}). A script that asks for workers must do so under "
                "if __name__ == '__main__':, since each worker reads the script again. Or memory is short: take fewer."
            )

    def _more(self) -> bool:
        """Whether there is a task to hand out."""
        if not self.next:
            self.next.extend(islice(self.later, 1))
        return bool(self.next)


def _portable(error: Exception, where: str) -> Exception:
    """The exception with a note of where it was raised; a plain one in its place where it cannot be sent."""
    note = f"{where}:\n{''.join(traceback.format_tb(error.__traceback__))}"
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error
