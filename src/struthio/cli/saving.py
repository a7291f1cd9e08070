"""Keeps the results of a batch job as they come: one row a sample in Parquet, adversarials in shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from struthio.attacks.stream import Attacked
from struthio.data.files import replacing

ROWS, SHARDS, SUMMARY = "rows.parquet", "adversarials-*.safetensors", "summary.json"
SHARD_BYTES = 16 * 2**20

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("label", pa.int64()),
        ("predicted", pa.int64()),
        ("predicted_adv", pa.int64()),
        ("correct", pa.bool_()),
        ("success", pa.bool_()),
        ("size", pa.float32()),
        ("score", pa.float32()),
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
    ]
)


class Saving:
    """A folder that takes results batch by batch; leaving the `with` block, by whatever way, keeps what was added.

    `rows.parquet` has one row a sample; `adversarials-00000.safetensors`, ... hold `id` int64 [m] and `x_adv` float32
    [m, ...] in parts of some 16 MB; `summary.json` is written by `summary`. Files of an earlier run are replaced.

    Args:
        folder: exists and can be written.
        names: a name for each row of the data set, or None.
    """

    def __init__(self, folder: Path, names: Sequence[str] | None = None) -> None:
        self.folder, self.names = folder, names
        self.schema = SCHEMA.append(pa.field("name", pa.string())) if names else SCHEMA
        self.waiting: list[tuple[Tensor, Tensor]] = []
        self.shards = 0

    def __enter__(self) -> Saving:
        for old in [*self.folder.glob(SHARDS), self.folder / ROWS, self.folder / SUMMARY]:
            old.unlink(missing_ok=True)
        self.writer = pq.ParquetWriter(self.folder / ROWS, self.schema)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.writer.close()
        self._write_shard()

    def add(self, part: Attacked) -> None:
        """Keep one finished batch."""
        result = part.result
        columns: dict[str, Any] = {
            "id": part.ids,
            "label": part.labels,
            "predicted": part.predicted,
            "predicted_adv": part.predicted_adv,
            "correct": part.correct,
            **{name: getattr(result, name) for name in ("success", "size", "score", "forwards", "backwards")},
        }
        columns = {name: value.cpu().numpy() for name, value in columns.items()}
        if self.names:
            columns["name"] = [self.names[row] for row in part.ids.tolist()]
        self.writer.write_table(pa.table(columns, schema=self.schema))
        self.waiting.append((part.ids.cpu(), result.x_adv.float().cpu()))
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
        with replacing(self.folder / SHARDS.replace("*", f"{self.shards:05d}")) as beside:
            save_file({"id": ids, "x_adv": x.contiguous()}, beside)
        self.shards, self.waiting = self.shards + 1, []
