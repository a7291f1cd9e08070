"""A model from one line of text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from struthio.checks import UserError, near_misses
from struthio.models import code, hubs, onnx, onnxruntime, programs
from struthio.models.weights import OWN_LOADER, load_weights, torchscript


def _from_zoo(name: str) -> nn.Module:
    from struthio import zoo  # the zoo's networks are built from this room's parts

    return zoo.load(name)


SCHEMES: dict[str, Callable[[str], nn.Module]] = {
    "zoo": _from_zoo,
    "timm": hubs.from_timm,
    "hf": hubs.from_hugging_face,
    "torchvision": hubs.from_torchvision,
    "onnxruntime": onnxruntime.OnnxRuntime,
}
SPECS = {  # what `struthio list models` shows, beside the zoo
    "FILE.py:FACTORY": "a function in a file, or a module or a fitted scikit-learn classifier in it",
    "PACKAGE.MODULE:FACTORY": "the same in an installed package",
    "FILE.onnx": "an ONNX file, with gradients where it can be converted",
    "onnxruntime:FILE.onnx": "an ONNX file as it is, scores alone",
    "FILE.pt2": "a program that torch.export.save wrote",
    "timm:NAME": "a timm model with its own mean, deviation and size",
    "hf:NAME": "a Hugging Face model for image classification",
    "torchvision:NAME": "a torchvision classifier with its default weights",
}
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")


def load(spec: str | Path, *, weights: str | Path | None = None, device: str | torch.device = "cpu") -> nn.Module:
    """A model from its spec, in evaluation mode, with attributes `input_size` and `class_names` (None where unknown).

    Args:
        spec: a text, or the path of a file: `zoo:NAME`, `FILE.py:FACTORY`, `PACKAGE.MODULE:FACTORY`, `FILE.onnx`,
            `onnxruntime:FILE.onnx`, `FILE.pt2`, `timm:NAME`, `hf:NAME` or `torchvision:NAME`.
        weights: a .safetensors file or a checkpoint for a model from code. Checkpoints are read as weights only.
        device: where the model goes.

    Raises:
        UserError: where the spec, the file or the weights cannot be used; the message says what to do.
    """
    if not isinstance(spec, str | Path):
        raise UserError(f"the model is a {type(spec).__name__}; a text that names one is needed: zoo:digits-cnn.")
    model = _make(str(spec))
    if weights is not None:
        load_weights(model, weights)
    for name in ("input_size", "class_names"):
        if not hasattr(model, name):
            setattr(model, name, None)
    return model.to(device).eval()


def _make(spec: str) -> nn.Module:
    if spec.endswith(".onnx") and not spec.startswith("onnxruntime:"):
        return onnx.from_onnx(Path(spec))
    if spec.endswith(".pt2"):
        return programs.Program(Path(spec))
    scheme, colon, name = spec.partition(":")
    if colon and scheme in SCHEMES:
        return SCHEMES[scheme](name)
    if colon and (".py:" in spec or all(part.isidentifier() for part in scheme.split("."))):
        return code.from_code(spec)
    if spec.endswith(".py"):
        raise UserError(f"{spec} is code; say which function or module in it is the model: {spec}:FACTORY.")
    if Path(spec).suffix in CHECKPOINTS:
        if torchscript(Path(spec)):
            raise UserError(f"{spec} is a TorchScript program: {OWN_LOADER}")
        raise UserError(
            f"{spec} holds weights at most, and the network they belong to is needed too: a function in a file that "
            f"makes it, FILE.py:FACTORY, with weights={spec} (--weights {spec} on the command line)."
        )
    from struthio.zoo import ZOO

    known = [*(f"zoo:{entry}" for entry in ZOO), *SPECS]
    raise UserError(f"{spec!r} names no model. {near_misses(spec, known, 'models')} For example: zoo:digits-cnn.")
