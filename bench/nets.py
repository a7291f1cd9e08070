"""The networks and rows of the benchmark: digits, CIFAR-size, ImageNet-size. Every row is one the network has right."""

from __future__ import annotations

import csv
import io
import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import struthio as st
from bench.resnet20 import ResNet20
from struthio.data import Samples
from struthio.data.digits import digits


@dataclass(frozen=True)
class Case:
    """One network with its rows.

    Attributes:
        name: of the network and its data.
        model: in evaluation mode, normalisation inside.
        x: the inputs [n, ...], pixels in [0, 1].
        y: the classes that the model gives them, int64 [n].
        eps: the radius for each norm, "linf" and "l2".
        note: what a reader must know about this case.
    """

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor
    eps: dict[str, float]
    note: str


def moved(case: Case, device: torch.device) -> Case:
    """The same on another device."""
    return replace(case, model=case.model.to(device), x=case.x.to(device), y=case.y.to(device))


def digits_cnn(rows: int) -> Case:
    """Real digits on the zoo's small CNN, which has no batch-norm."""
    model = st.load("zoo:digits-cnn")
    x, y = _right(model, *digits("test"), rows)
    return Case("digits CNN", model, x, y, {"linf": 0.1, "l2": 1.0}, "MNIST digits of the test split")


def digits_robust(rows: int) -> Case:
    """Real digits on the zoo's robust CNN."""
    model = st.load("zoo:digits-robust")
    x, y = _right(model, *digits("test"), rows)
    return Case("robust digits CNN", model, x, y, {"linf": 0.3, "l2": 2.0}, "MNIST digits of the test split")


def cifar(rows: int) -> Case:
    """ResNet-20 with its published weights on real pictures where STRUTHIO_DATA holds them; else random both."""
    folder = os.environ.get("STRUTHIO_DATA")
    if not folder:
        return _random_cifar(rows)
    model = ResNet20().eval()
    saved = torch.load(Path(folder) / "checkpoints/resnet20-12fca82f.th", weights_only=True, map_location="cpu")
    model.load_state_dict({name.removeprefix("module."): value for name, value in saved["state_dict"].items()})
    x, y = _right(model, *packed(Path(folder) / "cifar10/test_jpeg.npz", 2 * rows), rows)
    note = "published weights, CIFAR-10 test pictures after JPEG compression"
    return Case("ResNet-20", model, x, y, {"linf": 1 / 255, "l2": 0.15}, note)


def _random_cifar(rows: int) -> Case:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ResNet20().eval()
        x = torch.rand(rows, 3, 32, 32)
    note = "RANDOM weights on noise, labelled by the network itself: times count, success does not"
    return Case("ResNet-20", model, x, _answers(model, x), {"linf": 1 / 255, "l2": 0.15}, note)


def packed(path: Path, rows: int) -> tuple[Tensor, Tensor]:
    """Pictures that share one JPEG header."""
    with np.load(path) as file:
        data, ends, header, labels = file["data"], file["offsets"], file["header"].tobytes(), file["labels"]
    parts = [header + data[ends[i] : ends[i + 1]].tobytes() for i in range(rows)]
    x = np.stack([np.asarray(Image.open(io.BytesIO(part)).convert("RGB")) for part in parts])
    return torch.from_numpy(x).permute(0, 3, 1, 2).float().contiguous() / 255, torch.from_numpy(
        labels[:rows].astype(np.int64)
    )


def efficientnet(rows: int) -> Case:
    """The photographs that come inside packages; none has a label beyond dispute, so the network's answer is taken."""
    model = st.load("zoo:efficientnet-lite0")
    x = _first(st.load_data("data:pictures", model.input_size), rows)
    note = "photographs from scikit-image and scikit-learn, labelled by the network itself"
    return Case("EfficientNet-Lite0", model, x, _answers(model, x), {"linf": 0.5 / 255, "l2": 0.5}, note)


def imagenet(rows: int) -> Case:
    """EfficientNet-Lite0 on the ImageNet pictures that STRUTHIO_DATA holds; without, on photographs from packages.

    There is one picture a class, 60 in all: who asks for more rows gets eighteen crops of each, the middle ones first.
    """
    folder = os.environ.get("STRUTHIO_DATA")
    if not folder:
        return efficientnet(rows)
    model = st.load("zoo:efficientnet-lite0")
    with (Path(folder) / "imagenet" / "index.csv").open() as index:
        known = {row["file"]: int(row["label"]) for row in csv.DictReader(index)}
    pictures = [_crops(Path(folder) / "imagenet/images" / file) for file in sorted(known)]
    labels = torch.tensor([known[file] for file in sorted(known)])
    views = 1 if rows <= len(pictures) else 18
    x = torch.stack([crops[view] for view in range(views) for crops in pictures])
    x, y = _right(model, x, labels.repeat(views), rows)
    note = "ImageNet pictures, one a class" + (", eighteen crops of each" if views > 1 else "")
    return Case("EfficientNet-Lite0", model, x, y, {"linf": 0.5 / 255, "l2": 0.5}, note)


def _crops(file: Path, side: int = 224) -> Tensor:
    """Nine crops of a picture of short side 256, the middle one first, and all nine mirrored: [18, 3, side, side]."""
    picture = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1).float() / 255
    down, right = (extent - side for extent in picture.shape[1:])
    places = itertools.product((down // 2, 0, down), (right // 2, 0, right))
    crops = torch.stack([picture[:, top : top + side, left : left + side] for top, left in places])
    return torch.cat([crops, crops.flip(3)])


def cifar_robust(rows: int, weights: str) -> Case:
    """A wide ResNet 16-1 of `struthio.zoo.cifar` with weights that a recipe of `struthio.train` made."""
    folder = os.environ.get("STRUTHIO_DATA")
    if not folder:
        raise SystemExit(
            "STRUTHIO_DATA names no folder with cifar10/test_jpeg.npz, and without pictures no row is right."
        )
    model = st.load("struthio.zoo.cifar:wide_resnet", weights=weights)
    x, y = _right(model, *packed(Path(folder) / "cifar10/test_jpeg.npz", 3 * rows), rows)
    note = "trained by this repository's recipe; CIFAR-10 test pictures after JPEG compression"
    return Case("robust WRN-16-1", model, x, y, {"linf": 8 / 255, "l2": 0.5}, note)


CASES = {"digits": digits_cnn, "cifar": cifar, "imagenet": efficientnet}


def _first(data: Samples, rows: int) -> Tensor:
    return next(iter(data.batches(rows)))[1]


@torch.no_grad()
def _answers(model: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([model(some).argmax(1) for some in x.split(100)])


@torch.no_grad()
def _right(model: nn.Module, x: Tensor, y: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """The first rows that the model classifies correctly, of three times as many; asked until there are enough."""
    found: list[Tensor] = []
    for some in torch.arange(min(len(x), 3 * rows)).split(100):
        found.append(some[model(x[some]).argmax(1) == y[some]])
        if sum(len(right) for right in found) >= rows:
            break
    keep = torch.cat(found)[:rows]
    return x[keep], y[keep]
