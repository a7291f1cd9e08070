"""A model from a program that torch.export wrote: `model.pt2`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from struthio.checks import UserError
from struthio.models.program_check import check_program


class Program(nn.Module):
    """An exported program as a module that is always in the mode it was exported in.

    Args:
        path: the .pt2 file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        if not path.is_file():
            raise UserError(f"there is no file {path}.")
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path} is no program that torch.export.save wrote.")
        check_program(path)  # torch.export.load falls back to full unpickling and evaluates expressions
        try:
            program = torch.export.load(path)
        except Exception as error:
            raise UserError(f"{path} cannot be read as an exported program: {error}") from error
        self.batch = _fixed_batch(program)
        self._run = (program.module(),)  # in a tuple: train() and eval(), which it does not have, must not reach it

    def forward(self, x: Tensor) -> Tensor:
        """The program's outputs."""
        if self.batch is not None and len(x) != self.batch:
            raise UserError(
                f"the program was exported for batches of {self.batch} and was given {len(x)} rows. Export it with a "
                'free batch: torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).'
            )
        out: Tensor = self._run[0](x)
        return out


def _fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """The batch size that the program insists on, or None."""
    names = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            size = node.meta["val"].shape[0]
            return size if isinstance(size, int) else None
    return None
