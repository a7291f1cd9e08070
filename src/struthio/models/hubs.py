"""Models from timm, Hugging Face and torchvision, each with the mean, deviation and size that it was trained with.

These packages are optional; what they load they may fetch from their hubs.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from struthio.checks import UserError, need
from struthio.models.normalize import Normalize


def _with(net: nn.Module, mean: Any, std: Any, size: tuple[int, int, int] | None, names: Any) -> nn.Module:
    model = nn.Sequential(Normalize(tuple(mean), tuple(std)), net).eval()
    model.input_size, model.class_names = size, tuple(names) if names else None  # type: ignore[assignment]
    return model


def from_timm(name: str) -> nn.Module:
    """A pretrained timm model."""
    timm = need("timm", "timm")
    try:
        net = timm.create_model(name, pretrained=True)
    except Exception as error:
        raise UserError(f"timm cannot make {name!r}: {error}") from error
    config = timm.data.resolve_model_data_config(net)
    return _with(net, config["mean"], config["std"], tuple(config["input_size"]), None)


class _LogitsOf(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x).logits
        return logits


def from_hugging_face(name: str) -> nn.Module:
    """A Hugging Face model for image classification."""
    transformers = need("transformers", "hf")
    try:
        reader = transformers.AutoImageProcessor.from_pretrained(name)
        net = transformers.AutoModelForImageClassification.from_pretrained(name)
    except Exception as error:
        raise UserError(f"transformers cannot load {name!r}: {error}") from error
    size = getattr(reader, "crop_size", None) if getattr(reader, "do_center_crop", False) else None
    size = size or reader.size
    side = size.get("height") or size.get("shortest_edge")
    width = size.get("width") or side
    labels = net.config.id2label
    names = [labels[index] for index in range(len(labels))]
    return _with(_LogitsOf(net), reader.image_mean, reader.image_std, (3, side, width), names)


def from_torchvision(name: str) -> nn.Module:
    """A torchvision classifier with its default weights."""
    models = need("torchvision.models", "torchvision")
    try:
        weights = models.get_model_weights(name).DEFAULT
        net = models.get_model(name, weights=weights)
    except Exception as error:
        raise UserError(f"torchvision cannot make {name!r}: {error}") from error
    views = weights.transforms()
    side = views.crop_size[0] if isinstance(views.crop_size, (list, tuple)) else views.crop_size
    return _with(net, views.mean, views.std, (3, side, side), weights.meta.get("categories"))
