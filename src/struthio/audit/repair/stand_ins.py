"""Stand-ins for parts without useful gradient: the identity where it serves, else a smooth imitation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio.attacks.base import no_trace
from struthio.audit.doubts.parts import Part, watch
from struthio.audit.doubts.probe import Probe
from struthio.audit.repair.trial import ENOUGH, Candidate, trial
from struthio.models import with_stand_ins
from struthio.rows import straight_through

Instead = Callable[[Tensor], Tensor] | None
STEPS, WIDTH = 200, 32
PLACES = 2048  # that an imitation learns from at a time


class Bridge(nn.Module):
    """A copy of a model in which the gradient skips what comes before a part, as if that had changed nothing.

    Args:
        model: any module; it is left as it is.
        name: of the part, which gets inputs of the shape of the model's.
    """

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model = with_stand_ins(model, {})
        self.model.get_submodule(name).register_forward_pre_hook(self._cross)
        self.x: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The model's outputs."""
        self.x = x
        outputs: Tensor = self.model(x.detach())
        return outputs

    def _cross(self, part: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...] | None:
        x, self.x = self.x, None  # at the first call alone
        return None if x is None or x.shape != inputs[0].shape else (straight_through(x, inputs[0]),)


class Learned(nn.Module):
    """A small smooth network that imitates a part: value by value where it keeps the shape, else place by place.

    Args:
        channels: how many it gets at each place, and how many it gives; None works value by value.
    """

    def __init__(self, channels: tuple[int, int] | None) -> None:
        super().__init__()
        self.channels = channels
        before, after = channels or (1, 1)
        self.net = nn.Sequential(nn.Linear(before, WIDTH), nn.Tanh(), nn.Linear(WIDTH, after))

    def forward(self, u: Tensor) -> Tensor:
        """An imitation of the part's output."""
        out: Tensor
        if self.channels is None:
            out = self.net(u.unsqueeze(-1)).squeeze(-1)
        else:
            out = self.net(u.movedim(1, -1)).movedim(-1, 1)
        return out


def learn(part: nn.Module, seen: Tensor, answer: Tensor, probe: Probe) -> Learned | None:
    """Fit a smooth imitation on mixtures of what the part sees, with noise; None where its shape cannot be imitated.

    The part is asked about noisier points than the imitation is told of, so what is learned is its mean nearby.
    """
    if answer.shape == seen.shape:
        channels = None
    elif seen.ndim == answer.ndim and seen.shape[2:] == answer.shape[2:]:
        channels = (seen.shape[1], answer.shape[1])
    else:
        return None
    with no_trace(probe.generator.fold(800)), torch.enable_grad():
        imitation = Learned(channels).to(seen)
        optimizer = torch.optim.Adam(imitation.parameters(), 1e-2)
        rows = max(1, PLACES // (seen.numel() // len(seen) if channels is None else seen[0, 0].numel()))
        for _ in range(STEPS):
            some, others = torch.randint(len(seen), (2, min(rows, len(seen))))
            mixed = torch.lerp(seen[some], seen[others], torch.rand(()) * 0.5)
            told = mixed + 0.3 * seen.std() * torch.randn_like(mixed)
            with torch.no_grad():
                wanted = part(told + 0.2 * seen.std() * torch.randn_like(told))
            optimizer.zero_grad()
            F.mse_loss(imitation(told), wanted).backward()
            optimizer.step()
    return imitation.requires_grad_(False)


def options(probe: Probe, model: nn.Module, part: Part) -> Iterator[tuple[str, nn.Module]]:
    """The model with one thing or another in the place of a part, each with its name, cheap ones first."""
    if part.before:
        yield f"a bridge to the input of {part.name!r}, as if nothing came before it", Bridge(model, part.name)
        return
    layer, asked = model.get_submodule(part.name), replace(probe, model=model)
    seen, answer = watch(asked, {part.name: layer}, asked.x)[part.name]
    if seen.shape == answer.shape:
        yield f"the identity for {part.name!r}", with_stand_ins(model, {part.name: None})
    imitation = learn(layer, seen, answer, asked)
    if imitation is not None:
        yield f"a smooth imitation for {part.name!r}, learned from it", with_stand_ins(model, {part.name: imitation})


def replaced(probe: Probe, model: nn.Module, parts: list[Part]) -> tuple[nn.Module, list[str]]:
    """The model with the stand-ins that serve a short attack best, and a sentence for each part."""
    log: list[str] = []
    for part in parts:
        before = best = trial(probe, Candidate(model))[0]
        name, twin = "", model
        for option, other in options(probe, model, part):
            tried = trial(probe, Candidate(other))[0]
            # Of several parts each alone may help nothing, so that the first that can be put in is.
            if tried > best or (not name and len(parts) > 1 and tried == best):
                name, twin, best = option, other, tried
            if best.fell >= ENOUGH:
                break
        model = twin
        was = "no slope before" if before.fell < 0 else f"{before.fell:.0%} before"
        if name:
            log.append(f"The gradient is taken of {name}: ten steps bring down {best.fell:.0%} of a few rows, {was}.")
        else:
            log.append(f"Nothing was found that serves better than {part} itself ({was}).")
    return model, log
