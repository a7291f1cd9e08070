"""Keeps the results of a batch job: every finished batch in a journal at once, and in the end as Parquet and shards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load, save
from torch import Tensor

from struthio.attacks.stream import Attacked
from struthio.checks import UserError
from struthio.cli import terminal
from struthio.cli.tally import Columns
from struthio.data import shards
from struthio.data.database import JSON, plainly
from struthio.data.files import replacing
from struthio.data.journal import Journal

JOURNAL, ROWS, SHARDS, SUMMARY = "journal.sqlite", "rows.parquet", "adversarials-*.safetensors", "summary.json"
BATCH, FOUND, SHARD = "batch", "found", "shard"  # kinds of records: columns, adversarials in no shard yet, whole shards
SHARD_BYTES = 16 * 2**20

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("label", pa.int64()),
        ("predicted", pa.int64()),
        ("predicted_adv", pa.int64()),
        ("correct", pa.bool_()),
        ("robust", pa.bool_()),
        ("attacked", pa.bool_()),
        ("success", pa.bool_()),
        ("size", pa.float32()),
        ("score", pa.float32()),
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
    ]
)


def columns_of(part: Attacked) -> Columns:
    """What is kept of each row of a finished batch, and counted."""
    result = part.result
    columns = {
        "id": part.ids,
        "label": part.labels,
        "predicted": part.predicted,
        "predicted_adv": part.predicted_adv,
        "correct": part.correct,
        "robust": part.correct & ((part.predicted_adv == part.labels) | part.abstained),
        "attacked": part.attacked,
        **{name: getattr(result, name) for name in ("success", "size", "score", "forwards", "backwards")},
    }
    return {name: value.cpu().numpy() for name, value in columns.items()}


class Saving:
    """A folder that takes results batch by batch, and goes on with those of the same job that are there.

    When `add` returns, its batch outlives a kill. `leave` writes `rows.parquet` with one row a sample, and the last of
    `adversarials-00000.safetensors`, ... which hold `id` int64 [m] and `x_adv` float32 [m, ...] in parts of some 16 MB.
    After a kill these are made by the next run, from `journal.sqlite`.

    Args:
        folder: exists and can be written.
        job: what the rows depend on, by name.

    Attributes:
        done: how many rows are finished; the next one is to be attacked.

    Raises:
        UserError: where the folder is of another job, holds rows without a journal, or another process writes in it.
    """

    def __init__(self, folder: Path, job: Mapping[str, JSON]) -> None:
        self.folder, self.journal = folder, Journal.open(folder / JOURNAL, job, "attack")
        if self.journal.empty and (folder / ROWS).exists():
            self.journal.close()
            raise UserError(
                f"{folder} holds {ROWS}, of which its {JOURNAL} knows nothing, so that no attack can go on with it. "
                "Name another folder with -o."
            )
        self.unfinished: list[tuple[Columns, Tensor]] = []
        self.done = self._whole()

    def __enter__(self) -> Saving:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()

    def together(self) -> AbstractContextManager[None]:
        """What is added within is kept all of it, or nothing."""
        return self.journal.together()

    def batches(self) -> Iterator[Columns]:
        """The finished batches in their order, as they were added."""
        for _, columns in self.journal.all(BATCH):
            yield {name: value.numpy() for name, value in load(columns).items()}

    def add(self, columns: Columns, x_adv: Tensor) -> None:
        """Keep one finished batch, which begins with the row `done`."""
        key, ids = _key(self.done), torch.from_numpy(columns["id"])
        held = save({name: torch.from_numpy(column) for name, column in columns.items()})
        with self.together():
            self.journal.put(BATCH, {key: held})
            self.journal.put(FOUND, {key: save({"id": ids, "x_adv": x_adv.float().cpu().contiguous()})})
        self.done += len(ids)
        if self.journal.size(FOUND) >= SHARD_BYTES:
            self._seal()

    def add_unfinished(self, columns: Columns, x_adv: Tensor) -> None:
        """Keep a batch that was cut short in what `leave` writes; the next run does it again."""
        self.unfinished.append((columns, x_adv))

    def leave(self, names: Sequence[str] | None, summary: dict[str, Any]) -> None:
        """Write the rows, the rest of the adversarials and the summary.

        Args:
            names: one for each row of the data set, or None.
            summary: as JSON.
        """
        schema = SCHEMA.append(pa.field("name", pa.string())) if names else SCHEMA
        with replacing(self.folder / ROWS) as beside, pq.ParquetWriter(beside, schema) as writer:
            for columns in [*self.batches(), *(columns for columns, _ in self.unfinished)]:
                named = {"name": [names[row] for row in columns["id"].tolist()]} if names else {}
                writer.write_table(pa.table({**columns, **named}, schema=schema))
        rest = [load(value) for _, value in self.journal.all(FOUND)]
        rest += [{"id": torch.from_numpy(columns["id"]), "x_adv": x.float().cpu()} for columns, x in self.unfinished]
        number = self.journal.count(SHARD)
        if rest:
            self._write(number, _joined(rest))
        for old in sorted(self.folder.glob(SHARDS))[number + bool(rest) :]:
            old.unlink()
        with replacing(self.folder / SUMMARY) as beside:
            beside.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")

    def _seal(self) -> None:
        """Make a shard of the adversarials that are in none."""
        number = self.journal.count(SHARD)
        tensors = _joined([load(value) for _, value in self.journal.all(FOUND)])
        record = {"start": int(tensors["id"][0]), "checksum": self._write(number, tensors)}
        with self.together():
            self.journal.put(SHARD, {_key(number): json.dumps({**record, "stop": self.done}).encode()})
            self.journal.drop(FOUND)

    def _whole(self) -> int:
        """How many rows are done, with their adversarials; what comes after the first damage is forgotten."""
        waiting, sealed, done = {key for key, _ in self.journal.all(FOUND)}, list[dict[str, Any]](), 0
        for _, value in self.journal.all(SHARD):
            shard = json.loads(value)
            if shard["start"] != (sealed[-1]["stop"] if sealed else 0):
                break
            if not shards.whole(self._shard(len(sealed)), shard["checksum"]):
                break
            sealed.append(shard)
        for key, columns in self.journal.all(BATCH):
            if key != _key(done) or not (key in waiting or (sealed and done < sealed[-1]["stop"])):
                break
            done += len(load(columns)["id"])
        while sealed and sealed[-1]["stop"] > done:
            done = min(done, sealed.pop()["start"])
        return self._forget_from(done, len(sealed))

    def _forget_from(self, row: int, shard: int) -> int:
        """Keep rows before this one, and so many shards."""
        before = sum(self.journal.count(kind) for kind in (BATCH, SHARD))
        with self.together():
            for kind, start in ((BATCH, row), (FOUND, row), (SHARD, shard)):
                self.journal.drop(kind, _key(start))
        if sum(self.journal.count(kind) for kind in (BATCH, SHARD)) < before:
            terminal.note(f"what {self.folder} held after its first {row} rows was damaged, and is done again.")
        return row

    def _write(self, number: int, tensors: dict[str, Tensor]) -> str:
        """Write a shard and give its checksum."""
        path = self._shard(number)
        with plainly(path):
            return shards.write(path, tensors)

    def _shard(self, number: int) -> Path:
        return self.folder / SHARDS.replace("*", f"{number:05d}")


def _key(number: int) -> bytes:
    return number.to_bytes(8)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in ("id", "x_adv")}
