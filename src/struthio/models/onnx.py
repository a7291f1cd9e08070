"""A model from an ONNX file: differentiable where it can be converted, else scores alone under onnxruntime."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from struthio.checks import UserError, need

CLOSE = 1e-4  # a converted model whose outputs differ by more is not used


class OnnxScores(nn.Module):
    """An ONNX file run by onnxruntime: scores without gradient.

    Args:
        content: the file's bytes, or its path.
    """

    def __init__(self, content: bytes | str) -> None:
        super().__init__()
        runtime = need("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        self.session: Any = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """The first output of the file. Raises RuntimeError where onnxruntime, whose errors are its own, raises any."""
        name = self.session.get_inputs()[0].name
        try:
            out = self.session.run(None, {name: x.detach().cpu().numpy().astype(np.float32)})[0]
        except Exception as error:
            raise RuntimeError(str(error).splitlines()[0]) from error
        return torch.from_numpy(np.asarray(out)).to(x.device)


def check_onnx(path: Path) -> None:
    """Raise UserError where an ONNX file is missing, broken, or reads outside its own folder."""
    onnx = need("onnx", "onnx")
    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise UserError(f"{path} is no ONNX file: {type(error).__name__}: {error}") from error
    check_external(proto, path.parent)


def from_onnx(path: Path) -> nn.Module:
    """An ONNX file as a model with gradients, checked against onnxruntime on random inputs.

    Where it cannot be converted, or the outputs differ by more than 1e-4, a warning says so and the file is run by
    onnxruntime: attacks that need gradients then have to estimate them. Raises UserError where the file is missing or
    broken, or names data outside its own folder.
    """
    check_onnx(path)
    try:
        exact = OnnxScores(str(path))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"onnxruntime cannot run {path}: {str(error)[:200]}") from error
    names = [given.name for given in exact.session.get_inputs()]
    if len(names) != 1:
        raise UserError(
            f"{path.name} takes {len(names)} inputs ({', '.join(names) or 'none'}); a network of one input is needed."
        )
    size = _input_size(exact)
    model = _convert(path, exact, size)
    model.eval()
    model.input_size = size if size and len(size) == 3 else None  # type: ignore[assignment]
    model.class_names = None  # type: ignore[assignment]
    return model


def check_external(proto: Any, folder: Path) -> None:
    """Raise UserError where the file names data that is missing or lies outside its own folder."""
    for tensor in _tensors(proto):
        for entry in tensor.external_data:
            if entry.key != "location":
                continue
            place = (folder / entry.value).resolve()
            if not place.is_relative_to(folder.resolve()):
                raise UserError(f"the model names data outside its own folder ({entry.value}); it was refused.")
            if not place.is_file():
                raise UserError(f"the model's data file {entry.value} is missing; it belongs beside the .onnx file.")


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor stored in the file, in whatever part of it: constants, graphs within graphs, functions."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in (value,) if hasattr(value, "ListFields") else value:
                yield from _tensors(item)


def _input_size(exact: OnnxScores) -> tuple[int, ...] | None:
    """The shape of one row, where the file fixes it."""
    shape = exact.session.get_inputs()[0].shape[1:]
    return tuple(shape) if all(isinstance(side, int) for side in shape) else None


def _convert(path: Path, exact: OnnxScores, size: tuple[int, ...] | None) -> nn.Module:
    onnx2fx = need("onnx2fx", "onnx")
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # torch.fx prints errors before it raises them
            warnings.simplefilter("ignore")
            converted: nn.Module = onnx2fx.convert(str(path), base_dir=str(path.parent))
            if len(exact.session.get_outputs()) > 1:
                converted = _First(converted)
            difference = _difference(converted, exact, size)
    except Exception as error:
        return _scores_alone(exact, path, f"it cannot be converted ({type(error).__name__}: {str(error)[:200]})")
    if difference > CLOSE:
        return _scores_alone(exact, path, f"converted, its outputs differ by {difference:.2g} from onnxruntime's")
    return converted


class _First(nn.Module):
    """The first output of a file that has several."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        """The scores, with the gradients of the file's network."""
        first: Tensor = self.whole(x)[0]
        return first


def _difference(converted: nn.Module, exact: OnnxScores, size: tuple[int, ...] | None) -> float:
    """The largest difference of outputs on random inputs in [0, 1], for batches of one and, where allowed, two."""
    batch = exact.session.get_inputs()[0].shape[0]
    worst = 0.0
    for rows in (batch,) if isinstance(batch, int) else (1, 2):
        x = torch.rand(rows, *(size or (3, 224, 224)), generator=torch.Generator().manual_seed(rows))
        with torch.no_grad():
            worst = max(worst, float((converted(x) - exact(x)).abs().max()))
    return worst


def _scores_alone(exact: OnnxScores, path: Path, reason: str) -> nn.Module:
    warnings.warn(
        f"{path.name} gives scores but no gradients: {reason}. Attacks with gradient=Estimated() work on it.",
        stacklevel=2,
    )
    return exact
