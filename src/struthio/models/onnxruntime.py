"""An ONNX file run by onnxruntime, for scores alone: any operator, any input type, as it would be deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from struthio.checks import UserError, near_misses, need
from struthio.models.onnx import check_onnx

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


class OnnxRuntime(nn.Module):
    """Scores of an ONNX file, without gradient. `FILE.onnx` as a spec converts the file, so that it has gradients.

    A file made for batches of a fixed size is asked in such batches, the last one filled up with its own last row.

    Args:
        path: the .onnx file; data that it keeps in other files must lie beside it.
        output: the name of the output with scores [n, classes]; None takes the first that has such a shape.
    """

    def __init__(self, path: str | Path, output: str | None = None) -> None:
        super().__init__()
        runtime, path = need("onnxruntime", "onnx"), Path(path)
        check_onnx(path)
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        try:
            self.session: Any = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UserError(f"onnxruntime cannot run {path}: {str(error)[:200]}") from error
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in TYPES:
            kinds = ", ".join(f"{part.name}: {part.type}" for part in inputs)
            raise UserError(f"{path} takes {kinds}; a model with one input of floating-point numbers is needed.")
        self.name, self.kind, shape = inputs[0].name, TYPES[inputs[0].type], inputs[0].shape
        self.rows: int | None = shape[0] if shape and isinstance(shape[0], int) and shape[0] > 0 else None
        self.output = self._chosen(output, path)
        sides = tuple(shape[1:])
        self.input_size = sides if len(sides) == 3 and all(isinstance(side, int) for side in sides) else None
        self.class_names = None

    def _chosen(self, output: str | None, path: Path) -> str:
        known = {part.name: part for part in self.session.get_outputs()}
        if output is not None:
            if output not in known:
                raise UserError(f"{path} has no output {output!r}. {near_misses(output, list(known), 'outputs')}")
            return output
        fitting: list[str] = [
            name for name, part in known.items() if part.type in TYPES and len(part.shape or [0, 0]) == 2
        ]
        if not fitting:
            kinds = ", ".join(f"{part.name}: {part.type} {part.shape}" for part in known.values())
            raise UserError(
                f"{path} gives {kinds}; an output of scores [n, classes] is needed. A file from skl2onnx has one when "
                "it is made with options={'zipmap': False}."
            )
        return fitting[0]

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, classes], cut off from x."""
        values = x.detach().cpu().numpy().astype(self.kind)
        try:
            outputs = np.concatenate([self._run(values[start : start + step]) for start, step in self._parts(len(x))])
        except Exception as error:
            raise UserError(f"onnxruntime cannot take inputs {tuple(x.shape)}: {str(error)[:300]}") from error
        return torch.from_numpy(outputs).to(x.device, x.dtype)

    def _parts(self, n: int) -> list[tuple[int, int]]:
        step = self.rows or n
        return [(start, step) for start in range(0, n, step)]

    def _run(self, values: Any) -> Any:
        missing = (self.rows or len(values)) - len(values)
        if missing:
            whole = np.concatenate([values, np.repeat(values[-1:], missing, 0)])
            return self.session.run([self.output], {self.name: whole})[0][: len(values)]
        return self.session.run([self.output], {self.name: values})[0]
