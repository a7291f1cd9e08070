"""Keeps the results of a batch job as they come: one row a sample in Parquet, adversarials in shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from struthio.attacks.stream import Attacked
from struthio.cli.tally import Columns
from struthio.data.files import replacing

ROWS, SHARDS, SUMMARY = "rows.parquet", "adversarials-*.safetensors", "summary.json"
ANSWERS = "answers.safetensors"  # of an endpoint, while its rows are not all done
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
    """A folder that takes results batch by batch; leaving the `with` block, by whatever way, keeps what was added.

    `rows.parquet` has one row a sample; `adversarials-00000.safetensors`, ... hold `id` int64 [m] and `x_adv` float32
    [m, ...] in parts of some 16 MB; `summary.json` is written by `summary`. Files of an earlier run are replaced.

    Args:
        folder: exists and can be written.
        names: a name for each row of the data set, or None.
        before: the first rows, which an earlier run finished and left here, if this one goes on with it.
    """

    def __init__(self, folder: Path, names: Sequence[str] | None = None, before: pa.Table | None = None) -> None:
        self.folder, self.names, self.before = folder, names, before
        self.schema = SCHEMA.append(pa.field("name", pa.string())) if names else SCHEMA
        self.waiting: list[tuple[Tensor, Tensor]] = []
        self.shards = 0

    def __enter__(self) -> Saving:
        self.opened = ExitStack()
        beside = self.opened.enter_context(replacing(self.folder / ROWS))
        self.writer = self.opened.enter_context(pq.ParquetWriter(beside, self.schema))
        if self.before is None:
            for old in [*self.folder.glob(SHARDS), *(self.folder / name for name in (ROWS, SUMMARY, ANSWERS))]:
                old.unlink(missing_ok=True)
        else:
            self.writer.write_table(self.before.select(self.schema.names))
            self._drop_from(self.before.num_rows)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.opened.close()
        self._write_shard()

    def add(self, columns: Columns, x_adv: Tensor) -> None:
        """Keep one finished batch."""
        given: dict[str, Any] = dict(columns)
        if self.names:
            given["name"] = [self.names[row] for row in given["id"].tolist()]
        self.writer.write_table(pa.table(given, schema=self.schema))
        self.waiting.append((torch.from_numpy(columns["id"]), x_adv.float().cpu()))
        if sum(x.nbytes for _, x in self.waiting) >= SHARD_BYTES:
            self._write_shard()

    def summary(self, value: dict[str, Any]) -> None:
        """Write the summary."""
        with replacing(self.folder / SUMMARY) as beside:
            beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def _write_shard(self) -> None:
        if not self.waiting:
            return
        ids, x = (torch.cat(parts) for parts in zip(*self.waiting, strict=True))
        self._write(self.folder / SHARDS.replace("*", f"{self.shards:05d}"), ids, x)
        self.shards, self.waiting = self.shards + 1, []

    def _write(self, path: Path, ids: Tensor, x: Tensor) -> None:
        with replacing(path) as beside:
            save_file({"id": ids, "x_adv": x.contiguous()}, beside)

    def _drop_from(self, row: int) -> None:
        """Keep the adversarials of the rows before this one, from which the attack goes on."""
        for path in sorted(self.folder.glob(SHARDS)):
            held = load_file(path)
            old = held["id"] < row
            if not bool(old.any()):
                path.unlink()
                continue
            if not bool(old.all()):
                self._write(path, held["id"][old], held["x_adv"][old])
            self.shards += 1
