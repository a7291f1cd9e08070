"""What every defence shares: it is a module that says how it is to be attacked, and how it is put around a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

Instead = Callable[[Tensor], Tensor]


class Defense(nn.Module):
    """A module before a model, inside it, or around it, with two declarations that an adaptive attack reads.

    Attributes:
        paper: authors, year, arXiv number.
        random: whether the same input may get another answer; attacks then average over draws (EOT).
        stand_in: what the gradient is to be taken of where the module itself has none or a useless one (BPDA), with
            outputs of the same shape; None where its own gradient is right. Best a method: a module assigned to it
            would be hidden behind this attribute of the class.
    """

    paper: ClassVar[str]
    random: bool = False
    stand_in: Instead | None = None

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """The model with this defence, which shares its parameters; the model is left as it is.

        Before the model, unless a defence says otherwise: `Jpeg.around(net, 50)` is `nn.Sequential(Jpeg(50), net)`.

        Args:
            model: from a batch to logits [n, classes].
            options: of the defence, in its own order.
            named: the same by name.
        """
        return in_line(model, cls(*options, **named))


def in_line(model: nn.Module, *parts: nn.Module) -> nn.Module:
    """Parts that were just made before a model, in its mode, on its device and in its precision."""
    whole = nn.Sequential(*(like(model, part) for part in parts), model)
    whole.training = model.training
    return whole


def behind(model: nn.Module, part: nn.Module) -> nn.Module:
    """The same with a part after the model."""
    whole = nn.Sequential(model, like(model, part))
    whole.training = model.training
    return whole


def like(model: nn.Module, part: nn.Module) -> nn.Module:
    """A part that was just made, brought into the mode, onto the device and to the precision of a model."""
    weight = next((each for each in model.parameters() if each.is_floating_point()), None)
    if weight is not None:
        part.to(weight.device, weight.dtype)
    return part.train(model.training)
