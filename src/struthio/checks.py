"""Every argument check, with its message: what was given, what is needed, the likely fix."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Mapping
from numbers import Real
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is slow to import and the command line's help must not wait for it
    from torch import Tensor, nn


class UserError(ValueError):
    """A mistake in what was given. The command line prints it without a traceback and exits with status 2."""


def need(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra of this package brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{module} is needed for this and cannot be imported ({error}). "
            f"Install it with: pip install 'struthio[{extra}]'"
        ) from error


def number(text: str) -> float:
    """The number that a text such as "0.03", "8/255" or "0.5/255" means.

    Raises:
        ValueError: for anything else, infinity and a division by zero among it.
    """
    above, slash, below = text.partition("/")
    divisor = float(below) if slash else 1.0
    value = float(above) / divisor if divisor else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


def near_misses(given: str, known: list[str], what: str) -> str:
    """The end of a message about an unknown name: the closest known ones, or all of them when they are few."""
    import difflib

    originals = {name.lower(): name for name in known}
    holding = [name for name in originals if given.lower() in name.split()]
    alike = difflib.get_close_matches(given.lower(), list(originals), n=5, cutoff=0.5)
    close = list(dict.fromkeys([*holding, *alike]))[:5]
    if close:
        return "Did you mean: " + ", ".join(originals[name] for name in close) + "?"
    if len(known) <= 60:
        return f"Known {what}: " + ", ".join(sorted(known)) + "."
    return f"There are {len(known)} {what} and none is close to it."


def radius(eps: float | Tensor, name: str, width: float | None = None) -> None:
    """Refuse a radius that is negative, NaN, or wider than the limits allow (which asks for 8/255 where 8 was
    given).
    """
    if not isinstance(eps, (int, float)) and not _one_each(eps):
        raise UserError(f"{name} was given eps = {eps!r}; a number is needed, or a tensor [n] of one a row.")
    radii = [float(eps)] if isinstance(eps, (int, float)) else eps.flatten().tolist()
    if not radii:
        return
    largest, smallest = max(radii), min(radii)
    if any(map(math.isnan, radii)):
        raise UserError(f"{name} was given eps = NaN; a radius is a number >= 0.")
    if smallest < 0:
        raise UserError(f"{name} was given eps = {smallest:g}; a radius is a number >= 0.")
    if width is not None and math.isfinite(largest) and largest > width:
        raise UserError(
            f"{name} was given eps = {largest:g}, but inputs span only {width:g} from one limit to the other. "
            f"Is {largest:g}/255 meant? If inputs do span more, say so: {name}({largest:g}, box=Box(low, high))."
        )


def _one_each(value: object) -> bool:
    """Whether this is a tensor of one number a row, or any array's one number."""
    from torch import Tensor

    shape = getattr(value, "shape", None)
    return shape == () or (isinstance(value, Tensor) and value.ndim == 1)


def inputs(x: Tensor, low: Tensor | float | None, high: Tensor | float | None, where: str) -> None:
    """Refuse an input that is empty, not floating point, not finite, or outside the limits of the threat."""
    if x.ndim < 2 or len(x) == 0:
        raise UserError(f"x has shape {tuple(x.shape)}; a batch [n, ...] of at least one row is needed.")
    if not x.is_floating_point():
        raise UserError(f"x is {x.dtype}; floating point is needed. For 8-bit pictures: x.float() / 255.")
    lowest, highest = map(float, x.aminmax())  # NaN if any value is
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        rows = (~x.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        raise UserError(f"x holds NaN or infinity in {len(rows)} of {len(x)} rows (first: row {rows[0]}).")
    if low is None or high is None or _within(x, lowest, highest, low, high):
        return
    raise UserError(
        f"x spans [{lowest:.4g}, {highest:.4g}] but {where} allows {_span(low, high)}. "
        "If x is normalised, move the normalisation into the model: nn.Sequential(Normalize(mean, std), net). "
        "If its natural range is another, name it: box=Box(low, high)."
    )


def _within(
    x: Tensor, lowest: float, highest: float, low: Tensor | float, high: Tensor | float, slack: float = 1e-6
) -> bool:
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        return lowest >= low - slack and highest <= high + slack
    return not (bool((x < low - slack).any()) or bool((x > high + slack).any()))


def _span(low: Tensor | float, high: Tensor | float) -> str:
    lowest = float(low.min()) if hasattr(low, "min") else float(low)
    highest = float(high.max()) if hasattr(high, "max") else float(high)
    return f"[{lowest:g}, {highest:g}]"


def outputs(out: object, rows: int) -> None:
    """Refuse outputs that are not one row of at least two finite class scores for each input."""
    from torch import Tensor

    if not isinstance(out, Tensor):
        raise UserError(
            f"the model returned a {type(out).__name__}; a tensor of scores [n, classes] is needed. "
            f"Wrap the model so that it returns the logits alone{_scores_in(out, rows)}."
        )
    shape = out.shape
    if shape in ((rows,), (rows, 1)) and out.is_floating_point():
        raise UserError(
            "the model returned a single score a row; at least two classes are needed. "
            f"For a binary model with logit z return torch.{'cat' if len(shape) == 2 else 'stack'}([-z, z], 1)."
        )
    if len(shape) != 2 or shape[0] != rows:
        raise UserError(
            f"the model returned shape {tuple(shape)} for {rows} rows; [{rows}, classes] is needed, "
            "one row of class scores for each input."
        )
    if shape[1] < 2:
        raise UserError(f"the model returned scores of {shape[1]} classes; at least two are needed.")
    if not out.is_floating_point():
        raise UserError(f"the model returned {out.dtype}; scores in floating point are needed: return out.float().")


def _scores_in(out: object, rows: int) -> str:
    """Where in a dict, a tuple or an object of its own the scores seem to be, as the end of a message."""
    from torch import Tensor

    if isinstance(out, Mapping):
        parts = {f"out[{name!r}]": part for name, part in out.items()}
    elif isinstance(out, (tuple, list)):
        parts = {f"out[{place}]": part for place, part in enumerate(out)}
    else:
        parts = {f"out.{name}": part for name, part in getattr(out, "__dict__", {}).items()}
    fitting = [
        place for place, part in parts.items() if isinstance(part, Tensor) and part.ndim == 2 and len(part) == rows
    ]
    return f", here perhaps {fitting[0]}" if fitting else ""


def classes(labels: Tensor, rows: int, what: str, device: object = None) -> None:
    """Refuse class numbers that are not one whole number for each row, on this device where one is given."""
    from torch import Tensor, int64, is_inference_mode_enabled

    if not isinstance(labels, Tensor):
        raise UserError(
            f"{what} are a {type(labels).__name__}; a tensor of class numbers [n] is needed: torch.tensor(...)."
        )
    if labels.ndim != 1 or len(labels) != rows:
        raise UserError(
            f"{what} have shape {tuple(labels.shape)}, but there are {rows} rows; one class number a row is needed."
        )
    if labels.is_inference() and not is_inference_mode_enabled():
        raise UserError(f"{what} come from torch.inference_mode, which gradients refuse: take {what}.clone().")
    if labels.dtype != int64:
        raise UserError(f"{what} are {labels.dtype}; whole class numbers (torch.int64) are needed: {what}.long().")
    if device is not None:
        beside(labels, device, what)


def beside(given: Tensor, device: object, what: str) -> None:
    """Refuse what lies on another device than the inputs."""
    if given.device != device:
        raise UserError(f"{what} are on {given.device}, but x is on {device}. Bring them there: {what}.to(x.device).")


def mode(model: object) -> None:
    """Refuse a module in training mode where that changes its answers."""
    from torch import nn

    if not isinstance(model, nn.Module):
        return
    for name, part in model.named_modules():
        if part.training and _changes(part):
            raise UserError(
                f"the model is in training mode: its {type(part).__name__} {name!r} would answer differently for the "
                "same input, and batch statistics would be changed. Call model.eval() first."
            )


def _changes(part: nn.Module) -> bool:
    """Whether a layer in training mode answers at random, by its batch, or learns statistics."""
    from torch import nn

    if isinstance(part, nn.modules.dropout._DropoutNd):
        return part.p > 0
    if isinstance(part, (nn.MultiheadAttention, nn.RNNBase)):
        return part.dropout > 0
    if isinstance(part, nn.modules.instancenorm._InstanceNorm):
        return part.track_running_stats
    return isinstance(part, (nn.modules.batchnorm._BatchNorm, nn.RReLU))


def no_inference_mode() -> None:
    """Refuse to take gradients under torch.inference_mode, which forgets what they would be taken of."""
    from torch import is_inference_mode_enabled

    if is_inference_mode_enabled():
        raise UserError(
            "gradients are needed, and the call is made under torch.inference_mode, where there are none. Make it "
            "outside of that, or under torch.no_grad(), within which attacks take their gradients all the same."
        )


def enough_classes(out: Tensor, needed: int, loss: str, instead: str) -> None:
    """Refuse a loss that compares more classes than the model has."""
    if out.shape[1] < needed:
        raise UserError(f"{loss} compares {needed} classes, but the model has {out.shape[1]}. Use {instead} instead.")


def norm_known(given: str | None, norms: tuple[str, ...], attack: str) -> None:
    """Refuse a threat in whose norm the attack is not defined."""
    if given is not None and given not in norms:
        raise UserError(
            f"{attack} is defined in {', '.join(norms)}; the threat is {given}. Take such a threat, or an attack that "
            f"`struthio list attacks` shows for {given}."
        )


def real(value: float, name: str) -> None:
    """Refuse what is no number, such as "5%"."""
    if not isinstance(value, Real) and not hasattr(value, "item"):
        raise UserError(f"{name} is {value!r}; a number is needed.")


def positive(value: float, name: str) -> None:
    """Refuse a count or a scale that is not above zero."""
    real(value, name)
    if not value > 0:
        raise UserError(f"{name} is {value:g}; it must be above 0.")


def not_negative(value: float, name: str) -> None:
    """Refuse a number below zero."""
    real(value, name)
    if not value >= 0:
        raise UserError(f"{name} is {value:g}; it must be at least 0.")


def count(value: int, name: str, least: int = 1) -> None:
    """Refuse what is not a whole number of at least 1, or of at least another."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name} is {value!r}; a whole number of at least {least} is needed.")


def whole(value: int, name: str) -> None:
    """Refuse what is not a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{name} is {value!r}; a whole number is needed.")


def gate(value: float, name: str) -> None:
    """Refuse a share to be reached that is not from 0 to 1, such as a percentage."""
    if not 0 <= value <= 1:
        raise UserError(f"{name} is {value}; it must be a share between 0 and 1, such as 0.4.")


def share(value: float, name: str) -> None:
    """Refuse what is not above 0 and at most 1."""
    real(value, name)
    if not 0 < value <= 1:
        raise UserError(f"{name} is {value:g}; it must be above 0 and at most 1.")


def one_of(value: str, known: tuple[str, ...], name: str) -> None:
    """Refuse a word that is not one of those known."""
    if value not in known:
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, known))}.")
