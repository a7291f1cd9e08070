"""`struthio harden`: the training with its progress, its logs and its result, in one process or several."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from struthio import checks
from struthio.checks import UserError
from struthio.cli import harden_words, terminal
from struthio.cli.harden import Options
from struthio.cli.network import device
from struthio.data.files import writable_folder
from struthio.models import load
from struthio.put_back import seeded
from struthio.train.checkpoint import RESULT, write
from struthio.train.crew import Crew, joined
from struthio.train.fit import Progress, Tell, Trained, fit
from struthio.train.plan import Plan
from struthio.train.recipe_file import Hardening, read
from struthio.train.spread import spread


def run_harden(given: str, options: Options) -> int:
    """Check what can be checked before anything begins; then train here, or in processes of its own."""
    made = agreed(given, options)
    folder = writable_folder(options.output or Path("hardened") / Path(given).stem)
    if options.logs:
        checks.need("tensorboard", "tensorboard")
    options = replace(options, output=str(folder.resolve() if options.devices != "1" else folder))
    if "WORLD_SIZE" in os.environ or (options.devices == "1" and options.nodes == 1):
        return train(made, options)
    if options.devices.startswith("ray"):
        from struthio.train.cluster import on_ray

        return on_ray(work, (_absolute(given), options), options.devices)
    if not options.devices.isdecimal():
        raise UserError(
            f"--devices {options.devices!r} cannot be meant; a number of processes, ray or ray:N is needed."
        )
    return spread(work, (given, options), int(options.devices), options.nodes, options.meet)


def _absolute(given: str) -> str:
    """A file by a name that holds wherever a worker runs."""
    return str(Path(given).resolve()) if Path(given).is_file() else given


def agreed(given: str, options: Options) -> Hardening:
    """The recipe with what the options put in place of its own."""
    made = read(given)
    changed = {name: value for name in ("epochs", "seed") if (value := getattr(options, name)) is not None}
    made = replace(
        made,
        model=options.model or made.model,
        data=options.data or made.data,
        held=options.held or made.held,
        plan=replace(made.plan, **changed),
    )
    for name in ("model", "data"):
        if getattr(made, name) is None:
            raise UserError(
                f"the recipe leaves open what {name} is trained{' on' * (name == 'data')}. Give --{name} SPEC."
            )
    return made


def work(given: str, options: Options) -> int:
    """One of several processes. A mistake is told by the first, and none is tried again."""
    try:
        return train(agreed(given, options), options)
    except UserError as error:
        if os.environ.get("RANK", "0") == "0":
            terminal.error(str(error))
        return 2
    except KeyboardInterrupt:
        return 130


def train(made: Hardening, options: Options) -> int:
    """Train, keep the result, and say how good it is."""
    folder = Path(str(options.output))
    with joined() as crew, warnings.catch_warnings(record=True) as seen:
        model = fresh(made, options, crew)
        try:
            with progress(made.plan, crew, folder if options.logs else None) as tell:
                trained = fit(
                    model, str(made.data), made.recipe, made.plan, held=made.held, to=folder, tell=tell
                )  # fmt: skip
        except KeyboardInterrupt:
            if crew.first:
                terminal.note(f"stopped between two steps; the same command goes on from there, with {folder}.")
            raise
        if crew.first:
            keep(trained, made, folder)
            for warning in seen:
                terminal.note(str(warning.message))
            harden_words.tell(trained, made, folder, options)
    return 0


def fresh(made: Hardening, options: Options, crew: Crew) -> nn.Module:
    """The model before training. One that is built without weights begins with those of the plan's seed."""
    place = device(options.device)
    if crew.size > 1 and place.type == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    with terminal.quiet_output(), seeded(made.plan.seed):
        return load(str(made.model), device=place)


def keep(trained: Trained, made: Hardening, folder: Path) -> None:
    """The weights, with all that is needed to build the model again."""
    facts = {
        "model": made.model,
        "data": made.data,
        "recipe": made.table,
        "best": asdict(trained.best),
        "history": [asdict(line) for line in trained.history],
        "doubts": list(trained.doubts),
    }
    write(folder / RESULT, trained.model.state_dict(), facts)


@contextmanager
def progress(plan: Plan, crew: Crew, logs: Path | None) -> Iterator[Tell]:
    """A bar over all batches, with the last evaluation; and TensorBoard logs where a folder is given."""
    writer: Any = None
    if logs is not None and crew.first:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(logs / "logs"))
    said = ""
    with terminal.bar("batches") as bar:
        bar.disable = bar.disable or not crew.first
        task = bar.add_task("", total=None, so_far="")

        def tell(now: Progress) -> None:
            nonlocal said
            if now.finished is not None:
                said = harden_words.accuracies(now.finished)
                if writer is not None:
                    harden_words.log(writer, now.finished)
            bar.update(
                task,
                description=f"epoch {min(now.epoch + 1, plan.epochs)} of {plan.epochs}",
                total=plan.epochs * now.batches,
                completed=now.epoch * now.batches + now.batch,
                so_far=f", loss {now.loss:.3g}{said}",
            )

        try:
            yield tell
        finally:
            if writer is not None:
                writer.close()
