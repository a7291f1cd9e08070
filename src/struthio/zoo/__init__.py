"""Small models with pinned weights."""

from struthio.zoo.table import ZOO, imagenet_names, load

__all__ = ["ZOO", "imagenet_names", "load"]
