"""What an audit is asked about, however it was said: threats by name, rows with labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.data import Samples, load_data
from struthio.describe import describe
from struthio.models.single import HALVES
from struthio.threats.table import threat as from_text
from struthio.types import Model, Threat


def threats_by_name(given: Any) -> dict[str, Threat]:
    """One threat or several, as objects or texts, or a mapping of names to these.

    Raises:
        UserError: for none at all, for what is no threat, and for a radius within which no rows can be counted.
    """
    if isinstance(given, Mapping):
        several = dict(given)
    else:
        several = {one if isinstance(one, str) else describe(one): one
                   for one in (given if isinstance(given, (list, tuple)) else [given])}  # fmt: skip
    if not several:
        raise UserError("no threat was named; at least one is needed, such as 'linf:8/255'.")
    return {name: _with_radius(from_text(one) if isinstance(one, str) else one) for name, one in several.items()}


def _with_radius(threat: Any) -> Threat:
    if isinstance(threat, type) or not isinstance(threat, Threat):
        raise UserError(f"{threat!r} is no threat; one such as Linf(8/255), or its text 'linf:8/255', is needed.")
    eps, name = torch.as_tensor(threat.eps), type(threat).__name__
    if eps.ndim:
        raise UserError(f"{name} has a radius for each of {len(eps)} rows; an audit asks about one radius for all.")
    if not 0 < float(eps) < float("inf"):
        raise UserError(
            f"{name} was given eps = {float(eps):g}; an audit counts the rows that stand within a radius, so one above "
            "0 and below infinity is needed, such as 'linf:8/255'."
        )
    return threat


def rows_and_labels(data: Any, model: Model) -> Samples:
    """A data set as it is, by its text, or from tensors (x [n, ...], labels int64 [n]).

    Raises:
        UserError: for anything else, and for labels that are not whole numbers.
    """
    if isinstance(data, str):
        return load_data(data, getattr(model, "input_size", None))
    if isinstance(data, Samples):
        return data
    if not isinstance(data, (tuple, list)) or len(data) != 2 or not all(isinstance(part, Tensor) for part in data):
        raise UserError(
            f"the data is a {_kind(data)}; tensors (x, labels), a text such as 'data:digits', or what load_data gives "
            "is needed. From NumPy: (torch.from_numpy(x).float(), torch.from_numpy(labels))."
        )
    x, labels = data
    if x.ndim < 2:
        raise UserError(f"x has shape {tuple(x.shape)}; a batch [n, ...] is needed.")
    if not x.numel():
        raise UserError(f"x has shape {tuple(x.shape)}: there is nothing in it to audit.")
    if x.dtype in HALVES:
        raise UserError(
            f"x is {x.dtype}; an audit keeps its rows in single precision, since rounding carries changes out of the "
            f"ball. Give x.float(), and a model that takes it: struthio.models.single.AskedInSingle(model, {x.dtype})."
        )
    checks.classes(labels, len(x), "labels")
    if int(labels.min()) < 0:
        raise UserError(f"labels hold {int(labels.min())}; class numbers start at 0.")
    return Samples(x, labels, name=f"{len(x)} rows")


def _kind(data: object) -> str:
    name = type(data).__name__
    return f"{name} of {', '.join(type(part).__name__ for part in data)}" if isinstance(data, (tuple, list)) else name
