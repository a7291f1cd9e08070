"""The same work in several processes, on one machine or many, by torch's own launcher (the one behind torchrun)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import torch

from struthio.checks import UserError, count

RESTARTS = 3  # of all processes, after one has died; they go on from the last checkpoint
PORT = 29400


def spread(
    work: Callable[..., int], arguments: tuple[Any, ...], devices: int, nodes: int = 1, meet: str | None = None
) -> int:
    """Call `work(*arguments)` in `devices` processes on each of `nodes` machines, and give the highest status.

    Where a process dies, all are started again. Within, `struthio.train.crew.joined` finds the others.

    Args:
        work: a function of a module, which gives an exit status. A UserError must not leave it: it would be tried
            again.
        arguments: picklable.
        devices: processes on this machine, one for each GPU; without GPUs they share the cores.
        nodes: how many machines; the same command is started on each.
        meet: HOST:PORT of one of them, needed where there are several.

    Raises:
        UserError: where the numbers cannot be meant, or processes died too often.
        KeyboardInterrupt: after Ctrl-C or SIGTERM.
    """
    count(devices, "devices")
    count(nodes, "nodes")
    if nodes > 1 and meet is None:
        raise UserError(
            f"{nodes} machines must know where to meet: give each --meet HOST:{PORT}, with the name of one."
        )
    if torch.cuda.is_available() and devices > torch.cuda.device_count():
        raise UserError(f"{devices} devices were asked for, but there are {torch.cuda.device_count()} GPUs here.")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    # A restart can otherwise wait half an hour for keys of the processes that died (torch 2.13).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns that it looked for unused parameters in vain
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        nodes, nodes, devices, run_id="struthio", rdzv_backend="c10d", rdzv_endpoint=meet or "localhost:0",
        max_restarts=RESTARTS, monitor_interval=0.5,
    )  # fmt: skip
    try:
        statuses: dict[int, int] = elastic_launch(config, work)(*arguments)
    except SignalException as stopped:
        raise KeyboardInterrupt from stopped
    except ChildFailedError as error:
        raise UserError(
            f"the processes died {RESTARTS + 1} times ({_reason(error)}). What was trained is kept; the same command "
            "goes on from the last checkpoint."
        ) from error
    return max(statuses.values())


def _reason(error: Any) -> str:
    """What the first of them died of."""
    _, failure = error.get_first_failure()
    if failure.exitcode < 0:
        return f"the last by {signal.Signals(-failure.exitcode).name}, as a system does that is out of memory"
    lines = [line for line in str(failure.message).splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"status {failure.exitcode}"
