"""Adversarial examples made by a network: trained once, it then needs one forward of its own for each input."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from struthio.attacks.base import Attack
from struthio.attacks.generator import PerturbationNet
from struthio.checks import UserError
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Threat

FORMAT = "struthio.generative.1"


@dataclass(frozen=True, eq=False)
class Generative(Attack):
    """The attack of a trained generator: x plus what it makes of x, inside the threat; no question but the judge's.

    `AdvGAN().fit(...)` trains one. It takes inputs of any height and width, in the number of channels it was trained
    for, and any goal and threat; it does best at those it was trained for.

    Args:
        net: the generator, from inputs [n, channels, h, w] to changes in [-1, 1].
        scale: what a change of 1 means, in units of x.
        target: the class it was trained towards; None for any but the model's own.
    """

    paper: ClassVar[str] = "Xiao, Li, Zhu, He, Liu, Song, 2018, arXiv 1801.02610"
    access: ClassVar[str] = "labels"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    net: PerturbationNet
    scale: float
    target: int | None = None

    @torch.no_grad()
    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """What the generator makes of x, projected into the threat."""
        if x.ndim != 4 or x.shape[1] != self.net.channels:
            raise UserError(f"the generator makes pictures of {self.net.channels} channels; x is {tuple(x.shape)}.")
        weights = {name: part.to(x) for name, part in self.net.state_dict().items()}
        z = self.scale * functional_call(self.net, weights, (x,))
        return threat.apply(x, threat.project(x, z))

    def save(self, path: str | Path) -> None:
        """Write weights and options into one .safetensors file."""
        from safetensors.torch import save_file

        net = {"channels": self.net.channels, "width": self.net.width, "blocks": self.net.blocks}
        options = {**net, "scale": self.scale, "target": self.target}
        weights = {name: part.detach().cpu().contiguous() for name, part in self.net.state_dict().items()}
        save_file(weights, path, metadata={"format": FORMAT, "options": json.dumps(options)})

    @classmethod
    def load(cls, path: str | Path) -> Generative:
        """Read what `save` wrote; nothing in the file is run.

        Raises:
            UserError: where there is no such file, it is torn, or holds something else.
        """
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise UserError(f"there is no file {path} to load a generator from.")
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            if about.get("format") != FORMAT:
                raise UserError(f"{path} holds no generator that Generative.save wrote.")
            options = json.loads(about["options"])
            net = PerturbationNet(options["channels"], options["width"], options["blocks"])
            net.load_state_dict(weights)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} is no whole generator file: {str(error).splitlines()[0]}.") from error
        return cls(net.eval().requires_grad_(False), float(options["scale"]), options["target"])
