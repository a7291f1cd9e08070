"""The same work on a Ray cluster, by Ray Train: its workers set up torch's group of processes, which `joined` finds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from struthio import checks, rays
from struthio.checks import UserError
from struthio.train.crew import PATIENCE
from struthio.train.spread import RESTARTS


def on_ray(work: Callable[..., int], arguments: tuple[Any, ...], where: str) -> int:
    """Call `work(*arguments)` in every worker of a cluster, and give its status. The extra `ray` is needed.

    Where a worker dies, all begin again and go on from the last checkpoint. The folder of the training and the data
    must be there on every node.

    Args:
        work: a function of a module, which gives an exit status.
        arguments: picklable.
        where: "ray" or "ray:N", a cluster of this machine with N workers, or one for each GPU (core, where there is
            none); "ray:auto", the cluster that this machine is part of; "ray://host:port", one that is reached
            through its client port.

    Raises:
        UserError: where the cluster cannot be meant or reached, or its workers died too often.
    """
    meant = rays.named(where)
    if meant is None:
        raise UserError(f"{where!r} names no cluster; {rays.FORMS} is needed.")
    size, address = meant
    ray = checks.need("ray", "ray")
    there: Any = checks.need("ray.train.torch", "ray")
    settings = checks.need("ray.train", "ray")
    guest = ray.is_initialized()
    if not guest:
        _connect(ray, address, size)
    try:
        workers, gpus = rays.room(ray, size)
        with tempfile.TemporaryDirectory() as notes:
            trainer = there.TorchTrainer(
                partial(_in_worker, work, arguments, os.getcwd()),
                torch_config=there.TorchConfig(timeout_s=int(PATIENCE.total_seconds())),
                scaling_config=settings.ScalingConfig(num_workers=workers, use_gpu=gpus > 0),
                run_config=settings.RunConfig(
                    storage_path=notes, failure_config=settings.FailureConfig(max_failures=RESTARTS)
                ),
            )
            try:
                return int(getattr(trainer.fit(), "return_value", 0) or 0)  # older versions of Ray tell nothing
            except settings.TrainingFailedError as error:
                lines = str(error).strip().splitlines() or ["no reason was given"]
                raise UserError(f"the workers died too often ({lines[-1]}). The same command goes on.") from error
    finally:
        if not guest:
            ray.shutdown()


def _in_worker(work: Callable[..., int], arguments: tuple[Any, ...], here: str) -> int:
    if os.path.isdir(here):
        os.chdir(here)
    return work(*arguments)


def _connect(ray: Any, address: str | None, size: int | None) -> None:
    try:
        if address is None:
            ray.init(num_cpus=max(size or 0, os.cpu_count() or 1) + 1, include_dashboard=False)
        else:
            ray.init(address=address)
    except (ConnectionError, ValueError) as error:
        raise UserError(f"the Ray cluster {address} cannot be reached ({str(error).splitlines()[0]}).") from error
