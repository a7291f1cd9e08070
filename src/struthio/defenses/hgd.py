"""The high-level guided denoiser: a U-shaped network takes the noise out, led by what the classifier makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError, near_misses
from struthio.defenses.base import Defense
from struthio.defenses.training import USUAL, Course, Progress, fresh, same_shape, train
from struthio.put_back import in_mode

GUIDES = ("pixel", "feature", "logit", "class")


class DUNET(nn.Module):
    """A denoiser with lateral connections, which gives the change dx to be added to its input.

    Each level down halves the sides; each level up sees the level below it, enlarged, beside the one on its own height.

    Args:
        channels: of the pictures.
        widths: channels of each level, the finest first; published: (64, 128, 256, 256, 256).
    """

    def __init__(self, channels: int = 1, widths: Sequence[int] = (16, 32, 32)) -> None:
        super().__init__()
        for width in (channels, *widths):
            checks.count(width, "channels and widths")
        steps = list(pairwise(widths))
        self.down = nn.ModuleList([_block(channels, widths[0], 2, 1), *(_block(a, b, 3, 2) for a, b in steps)])
        self.up = nn.ModuleList(
            [_block(low + high, high, 3 if level else 2, 1) for level, (high, low) in enumerate(steps)][::-1]
        )
        self.last = nn.Conv2d(widths[0], channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The change dx, of the shape of x [n, channels, h, w]."""
        levels = []
        for block in self.down:
            x = block(x)
            levels.append(x)
        for block, beside in zip(self.up, levels[-2::-1], strict=True):
            x = F.interpolate(x, beside.shape[2:], mode="bilinear", align_corners=False)
            x = block(torch.cat((x, beside), 1))
        dx: Tensor = self.last(x)
        return dx


def _block(inside: int, out: int, layers: int, stride: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer in range(layers):
        first = (inside, out, 3, stride) if layer == 0 else (out, out, 3, 1)
        parts += [nn.Conv2d(*first, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*parts)


class HGD(Defense):
    """x becomes x + dx(x), the classifier behind it as it was (Liao et al., 2018, arXiv 1712.02976).

    The denoiser has a gradient like any other layer: it was broken by attacking it and the classifier in one piece
    (Athalye and Carlini, 2018, arXiv 1804.03286). As published, nothing keeps x + dx within [0, 1].

    Args:
        channels: of the pictures [n, channels, h, w].
        widths: channels of each level of the DUNET.
    """

    paper: ClassVar[str] = "Liao et al., 2018, arXiv 1712.02976"

    def __init__(self, channels: int = 1, widths: Sequence[int] = (16, 32, 32)) -> None:
        super().__init__()
        self.net = DUNET(channels, widths)

    def forward(self, x: Tensor) -> Tensor:
        """The denoised pictures, of the same shape."""
        out: Tensor = x + self.net(x)
        return out

    def fit(
        self,
        model: nn.Module,
        x: Tensor,
        x_adv: Tensor,
        y: Tensor | None = None,
        *,
        guide: str = "logit",
        layer: str | None = None,
        course: Course = USUAL,
        progress: Progress | None = None,
    ) -> Self:
        """Train the denoiser from fresh weights; the classifier stays as it is, in evaluation mode.

        Clean pictures are denoised beside the adversarial ones, so that they stay what they were (design freedom).

        Args:
            model: the classifier, from pictures to logits.
            x: clean pictures [n, channels, h, w].
            x_adv: what attacks made of them, row for row; the paper mixes FGSM, iterated FGSM and radii.
            y: the classes int64 [n], for the guide "class".
            guide: what is to be the same for x + dx as for x, in mean absolute difference: "pixel" (the paper's PGD),
                "feature" (FGD), "logit" (LGD); or "class" (CGD), the cross-entropy with y.
            layer: whose outputs the features are, as in `model.named_modules()`, for the guide "feature".
            course: how long and how fast.
            progress: called after each pass with an `Epoch`.

        Returns:
            The defence itself, in evaluation mode.

        Raises:
            UserError: where the guide is unknown or lacks what it needs, or the rows do not fit each other.
        """
        checks.one_of(guide, GUIDES, "guide")
        same_shape(x, x_adv)
        rows = [x, x_adv]
        if guide == "class":
            if y is None:
                raise UserError("the guide 'class' needs the classes of the rows: fit(model, x, x_adv, y).")
            checks.classes(y, len(x), "labels")
            rows.append(y)
        see = _seen_by(model, guide, layer)

        def loss(clean: Tensor, changed: Tensor, labels: Tensor | None = None) -> Tensor:
            denoised = self(torch.cat((changed, clean)))
            if labels is not None:
                return F.cross_entropy(model(denoised), labels.repeat(2))
            with torch.no_grad():
                wanted = see(clean)
            return F.l1_loss(see(denoised), torch.cat((wanted, wanted)))

        fresh(self, course.seed)
        with in_mode(model, training=False):
            train(self, loss, rows, course, progress)
        return self


def _seen_by(model: nn.Module, guide: str, layer: str | None) -> Callable[[Tensor], Tensor]:
    """From pictures to what a guide compares."""
    if guide == "pixel":
        return lambda x: x
    if guide != "feature":
        return model
    parts = dict(model.named_modules())
    if layer is None or layer not in parts:
        raise UserError(
            f"the guide 'feature' needs the name of a part. {near_misses(layer or '', list(parts), 'parts')}"
        )
    return _Features(model, parts[layer])


class _Features:
    """What a part of a model gives out, as a function of the model's input."""

    def __init__(self, model: nn.Module, part: nn.Module) -> None:
        self.model, self.part = model, part

    def __call__(self, x: Tensor) -> Tensor:
        caught: list[Tensor] = []

        def catch(part: nn.Module, inputs: Any, output: Tensor) -> None:
            caught.append(output)

        handle = self.part.register_forward_hook(catch)
        try:
            self.model(x)
        finally:
            handle.remove()
        return caught[0]
