"""What is changed for a while and then put back: the mode of a model, and global random numbers."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from struthio.types import Model


@contextmanager
def in_mode(model: Model, training: bool) -> Iterator[None]:
    """Every part in training or in evaluation mode for a while; then each as it was. A plain function has no mode."""
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    were = {part: part.training for part in parts}
    try:
        if isinstance(model, nn.Module):
            model.train(training)
        yield
    finally:
        for part, was in were.items():
            part.training = was


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers from this seed for a while; then they go on as if nothing had been drawn."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would take a millisecond to look for devices
        if devices:
            torch.cuda.manual_seed(seed)
        yield


@contextmanager
def seeded_elsewhere(seed: int) -> Iterator[None]:
    """The same for the global random numbers of NumPy and Python. It takes a fifth of a millisecond."""
    numpy = sys.modules.get("numpy")  # nobody draws from what was never loaded
    was, was_numpy = random.getstate(), numpy.random.get_state() if numpy else None
    try:
        random.seed(seed)
        if numpy:
            numpy.random.seed(seed % 2**32)
        yield
    finally:
        random.setstate(was)
        if numpy:
            numpy.random.set_state(was_numpy)
