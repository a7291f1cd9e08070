"""Workers that are actors of a Ray cluster, on this machine or on many."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from struthio import checks, rays
from struthio.audit.crew import Died, Event, Raised, Worker
from struthio.audit.parcel import Parcel
from struthio.checks import UserError


class Cluster:
    """A crew of Ray actors: one for each GPU of the cluster, or for each core where it has none.

    Actors are not restarted by Ray but replaced by us, so that one rule holds here and for local processes. A new
    actor gets its first task when it has begun; until the cluster has a place for it, the others do the work.

    Args:
        build: pickled, and called once in each actor; gives the function that does one task. What it imports must be
            installed on every node, and the files that it names must be there.
        address: of the cluster, "auto" to find one from here, or None to start one on this machine for this run.
        size: how many actors, or None.
    """

    def __init__(self, build: Callable[[], Callable[[Any], Any]], address: str | None, size: int | None = None) -> None:
        self._ray = checks.need("ray", "ray")
        self._build = Parcel.pack(build, checks.need("ray.cloudpickle", "ray").dumps)
        self._guest = self._ray.is_initialized()
        if not self._guest:
            self._connect(address, size)
        self.size, gpus = rays.room(self._ray, size)
        self._actor = self._ray.remote(num_cpus=1, num_gpus=min(1.0, gpus / self.size))(Worker)
        self._members: dict[int, tuple[Any, deque[Any]]] = {}
        self._hired = 0

    def hire(self) -> int:
        """Ask for an actor; it begins when the cluster has a place for it."""
        self._hired += 1
        actor = self._actor.remote()
        self._members[self._hired] = actor, deque([actor.begin.remote(self._build)])
        return self._hired

    def give(self, worker: int, task: Any) -> None:
        """Queue a task at an actor."""
        actor, asked = self._members[worker]
        asked.append(actor.do.remote(task))

    def events(self) -> list[tuple[int, Event]]:
        """The answers to the oldest question of each actor, as far as they are there."""
        oldest = {asked[0]: worker for worker, (_, asked) in self._members.items() if asked}
        there, _ = self._ray.wait(list(oldest), num_returns=1)
        return [(oldest[answer], self._event(oldest[answer], answer)) for answer in there]

    def dismiss(self) -> None:
        """Kill all actors, and end a cluster that was started for them."""
        for actor, _ in self._members.values():
            self._ray.kill(actor)
        if not self._guest:
            self._ray.shutdown()

    def _event(self, worker: int, answer: Any) -> Event:
        errors = self._ray.exceptions
        try:
            event: Event = self._ray.get(answer)
        except errors.RayTaskError as error:  # what was raised outside a task: an answer that cannot be pickled
            return Raised(error)
        except errors.RayError as error:
            actor, _ = self._members.pop(worker)
            self._ray.kill(actor)
            return Died(str(error).strip().splitlines()[0])
        self._members[worker][1].popleft()
        return event

    def _connect(self, address: str | None, size: int | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told
        ours = {"address": "local", "num_cpus": size, "include_dashboard": False}
        try:
            self._ray.init(
                log_to_driver=False, logging_level=logging.ERROR, **(ours if address is None else {"address": address})
            )
        except (ConnectionError, ValueError) as error:  # the latter where the client of ray:// is not installed
            raise UserError(
                f"no Ray cluster answers at {address} ({error}). Start one with `ray start --head`, or take "
                "workers='ray' for one on this machine."
            ) from error
