"""Workers that are processes of this machine. They end with their parent, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, cast

from struthio.audit.crew import Died, Event, Raised, Worker
from struthio.audit.parcel import Parcel


class Processes:
    """A crew of fresh processes, which share the threads and the GPUs of this one.

    What goes through the pipes is pickled by us and for us: tensors by value, without shared memory or open files.

    Args:
        build: pickled, and called once in each process; gives the function that does one task.
        size: how many.
    """

    def __init__(self, build: Callable[[], Callable[[Any], Any]], size: int) -> None:
        import torch  # not above: a worker loads it when it begins, with its share of the threads

        self.size, self._build = size, Parcel.pack(build)
        self._devices = _devices(torch.cuda.device_count())
        self._context = _context()
        self._threads = max(1, torch.get_num_threads() // size)
        self._members: dict[Connection, tuple[BaseProcess, int]] = {}

    def hire(self) -> Connection:
        """Start a process; it is known by our end of its pipe."""
        seat = min(set(range(self.size)) - {seat for _, seat in self._members.values()})
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work,
            args=(theirs, self._build, self._threads, self._devices[seat % len(self._devices)]),
            daemon=True,
            name=f"worker-{seat}",
        )
        with _deaf():
            process.start()
        theirs.close()
        self._members[ours] = process, seat
        return ours

    def give(self, worker: Connection, task: Any) -> None:
        """Send a task down the pipe."""
        with suppress(OSError):  # it may be dead: the end of its pipe will be an event
            worker.send_bytes(pickle.dumps(task))

    def events(self) -> list[tuple[Connection, Event]]:
        """One message of each worker that has one; the end of a pipe is a death."""
        found: list[tuple[Connection, Event]] = []
        for worker in cast(list[Connection], wait(list(self._members))):
            try:
                found.append((worker, pickle.loads(worker.recv_bytes())))
            except (EOFError, OSError):
                found.append((worker, Died(self._fate(worker))))
        return found

    def dismiss(self) -> None:
        """Kill all, and wait for their ends."""
        for process, _ in self._members.values():
            process.kill()
        for worker in list(self._members):
            self._fate(worker)

    def _fate(self, worker: Connection) -> str:
        process, _ = self._members.pop(worker)
        worker.close()
        process.join()
        code = process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def get_ready() -> None:
    """Begin to load torch for workers to come, where they will share it; without waiting."""
    _context()


def _context() -> ForkServerContext | SpawnContext:
    """How processes are started: never as forks of this one, which may hang where it has threads or CUDA.

    Each is the fork of one that has loaded torch and this package, and done nothing else, so that this is paid for
    once; with CUDA, which reads its environment early, and where there are no such forks, each loads all by itself.
    """
    import torch

    if "forkserver" in multiprocessing.get_all_start_methods() and not torch.cuda.is_available():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["struthio.audit.run"])
        with _deaf(), suppress(ChildProcessError):  # a fork of a process that has such a server cannot have another
            forkserver.ensure_running()
            return context
    return multiprocessing.get_context("spawn")


def _work(pipe: Connection, build: Parcel, threads: int, device: str | None) -> None:
    """The life of a worker: begin, then answer what comes through the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _take_share(threads, device)
    worker = Worker()
    with suppress(EOFError, OSError):  # the parent has closed its end
        pipe.send_bytes(_message(worker.begin(build)))
        while True:
            pipe.send_bytes(_message(worker.do(pickle.loads(pipe.recv_bytes()))))


def _message(event: Event) -> bytes:
    try:
        return pickle.dumps(event)
    except Exception as error:
        return pickle.dumps(Raised(TypeError(f"an answer cannot be sent to the parent: {error}")))


def _end_with_parent() -> None:
    """Even in the middle of a task."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _devices(count: int) -> list[str | None]:
    """The GPUs by the names under which a worker sees one alone, as cuda:0; None where there are not several."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return list(named.split(",")) if count > 1 else [None]


def _take_share(threads: int, device: str | None) -> None:
    """Before torch is loaded, which reads both; where it is loaded already, it is told."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


@contextmanager
def _deaf() -> Iterator[None]:
    """A process started in here hears no Ctrl-C, from its first instruction on."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
