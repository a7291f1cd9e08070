"""The work of `struthio transfer`: models by name, batch after batch, a table, a picture and JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from torch import nn

from struthio.attacks.base import Attack
from struthio.checks import UserError, near_misses, one_of, positive
from struthio.cli import terminal
from struthio.cli.attack import Options
from struthio.cli.batch import ROWS_AT_ONCE, VALUES
from struthio.cli.network import agreed, chosen_attack, chosen_threat, device, load_network
from struthio.cli.transfer import TransferOptions
from struthio.data import Samples, load_data
from struthio.data.files import replacing, writable_folder
from struthio.explain import TransferMatrix, transfer_matrix
from struthio.explain.transfer_text import OVER
from struthio.rows import RowGenerator
from struthio.types import Threat

PICTURE, FIGURES = "transfer.png", "transfer.json"


@dataclass(frozen=True)
class Job:
    """All that the options name, found and checked before the work begins."""

    models: dict[str, nn.Module]
    specs: dict[str, str]
    sources: list[str]
    data: Samples
    attack: Attack
    threat: Threat
    options: TransferOptions
    rows: int
    batch_size: int


def run_transfer(specs: Sequence[str], options: TransferOptions) -> int:
    """Make the matrix and leave it where the options say; gives the exit status."""
    job = _job(named(specs), options)
    total, end = None, 0
    with terminal.bar() as bar:
        task = bar.add_task(options.attack, total=job.rows, so_far="")
        try:
            for ids, x, labels in job.data.batches(job.batch_size, stop=job.rows):
                part = _matrix(job, ids, x, labels)
                total = part if total is None else total + part
                bar.advance(task, len(ids))
        except KeyboardInterrupt:
            end = 130
    if total is None:
        raise KeyboardInterrupt
    if end:
        terminal.note(f"stopped: {total.rows} of {job.rows} rows are done.")
    _leave(job, total)
    return end


def named(specs: Sequence[str]) -> dict[str, str]:
    """Specs by name: that before NAME=SPEC, or the last part of the spec, or where two have the same, all of it."""
    pairs = [_split(spec) for spec in specs]
    often = Counter(name for name, _ in pairs)
    found = {name if often[name] == 1 else spec: spec for name, spec in pairs}
    if len(found) < len(pairs):
        raise UserError("two models have one name. Name them: one=SPEC other=SPEC.")
    if len(found) < 2:
        raise UserError("transfer is between models: name two at least, such as zoo:digits-cnn zoo:digits-robust.")
    return found


def _split(spec: str) -> tuple[str, str]:
    name, equals, rest = spec.partition("=")
    if equals and rest and re.fullmatch(r"[\w .+-]+", name):
        return name, rest
    return PurePath(spec.rpartition(":")[2]).stem or spec, spec


def _job(specs: dict[str, str], options: TransferOptions) -> Job:
    if options.data is None:
        raise UserError("which data was not said. Give --data, such as --data data:digits.")
    if options.threat is None:
        raise UserError("what may change was not said. Give --threat, such as --threat linf:8/255.")
    one_of(options.over, tuple(OVER), "--over")
    positive(options.count, "-n")
    if options.batch_size is not None:
        positive(options.batch_size, "--batch-size")
    sources = list(specs) if options.sources is None else [name.strip() for name in options.sources.split(",")]
    for name in sources:
        if name not in specs:
            raise UserError(f"the source {name!r} is none of the models. {near_misses(name, list(specs), 'names')}")
    plain = Options(attack=options.attack, option=options.option, device=options.device)
    attack, threat = chosen_attack(plain), chosen_threat(options.threat, options.levels)
    if options.output is not None:
        writable_folder(options.output)
    models = {name: load_network(plain, spec) for name, spec in specs.items()}
    data = load_data(options.data, _size(models))
    rows = min(options.count, len(data))
    _, x, labels = next(data.batches(32, stop=rows))
    if labels is None:
        raise UserError(f"{options.data} has no labels, so which inputs a model classifies rightly cannot be told.")
    models = {name: agreed(model, x.to(device(options.device)), labels) for name, model in models.items()}
    size = options.batch_size or max(1, min(ROWS_AT_ONCE, VALUES // x[0].numel()))
    return Job(models, specs, sources, data, attack, threat, options, rows, size)


def _size(models: dict[str, nn.Module]) -> tuple[int, int, int] | None:
    """The inputs that all models are given: as the first takes them that says so."""
    sizes = {name: size for name, model in models.items() if (size := getattr(model, "input_size", None))}
    said = "; ".join(f"{name} takes {' x '.join(map(str, size))}" for name, size in sizes.items())
    if len({channels for channels, *_ in sizes.values()}) > 1:
        raise UserError(f"the models take inputs of different kinds: {said}. Name models of one kind of input.")
    first: tuple[int, int, int] | None = next(iter(sizes.values()), None)
    if len(set(sizes.values())) > 1:
        terminal.note(f"the models take inputs of different sizes, and all are given those of the first: {said}.")
    return first


def _matrix(job: Job, ids: Any, x: Any, labels: Any) -> TransferMatrix:
    """The matrix of one batch."""
    where = device(job.options.device)
    return transfer_matrix(
        job.models, x.to(where), labels.to(where), job.attack, job.threat, sources=job.sources,
        over=job.options.over, generator=RowGenerator.seeded(job.options.seed, ids.to(where)), batch_size=len(ids),
    )  # fmt: skip


def _leave(job: Job, matrix: TransferMatrix) -> None:
    """Write the picture and the figures where a folder was named, and print the figures or the table."""
    options = job.options
    figures = {"models": job.specs, "data": options.data, "seed": options.seed, **matrix.summary()}
    if options.output is not None:
        folder = writable_folder(options.output)
        with replacing(folder / PICTURE) as beside:
            matrix.draw(beside)
        with replacing(folder / FIGURES) as beside:
            beside.write_text(json.dumps(terminal.finite(figures), indent=2, ensure_ascii=False) + "\n")
    if options.json:
        terminal.show_json(figures)
        return
    terminal.show(str(matrix))
    if options.output is not None:
        terminal.show(f"\nkept in {options.output}: {PICTURE}, {FIGURES}")
