"""A model's own errors, told apart from everybody else's: rows on which it fails are set aside, the others go on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.stream import out_of_memory
from struthio.checks import UserError
from struthio.failed import failed
from struthio.goals import abstains
from struthio.meter import Ended
from struthio.types import Model


class Refused(Exception):
    """The model raised an error of its own."""


class Heard:
    """A model whose own errors come out as Refused."""

    def __init__(self, model: Model) -> None:
        self.model, self.abstains = model, abstains(model)
        if hasattr(model, "original"):
            self.original = Heard(model.original)
            self.tolerance = getattr(model, "tolerance", math.inf)

    def __call__(self, x: Tensor) -> Tensor:
        """The model's outputs."""
        try:
            return self.model(x)
        except (UserError, Ended):
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            raise Refused(f"{type(error).__name__}: {error}") from error


@torch.no_grad()
def answers(model: Model, x: Tensor, abstaining: bool = True) -> Tensor:
    """The class that the model gives each row, int64 [n]; -1 where it raises an error, or says NaN.

    Args:
        model: as given.
        x: rows [n, ...].
        abstaining: False gives the strongest class where the model abstains, too.
    """
    try:
        outputs = Heard(model)(x)
    except Refused:
        if len(x) == 1:
            return torch.full((1,), -1, device=x.device)
        return torch.cat([answers(model, half, abstaining) for half in x.chunk(2)])
    checks.outputs(outputs, len(x))
    said = (outputs if abstaining or not abstains(model) else outputs[:, :-1]).argmax(1)
    return said.masked_fill(outputs.isnan().any(1), -1)


@torch.no_grad()
def classes(model: Model, x: Tensor) -> int:
    """How many the model knows, without abstaining; it is asked about two rows after two, until it answers.

    Raises UserError where it never does.
    """
    for some in x.split(2):
        try:
            outputs = Heard(model)(some)
        except Refused as error:
            said: Exception = error.__cause__ if isinstance(error.__cause__, Exception) else error
            continue
        checks.outputs(outputs, len(some))
        if bool(outputs.isnan().any(1).all()):
            said = ValueError("the scores hold NaN")
            continue
        return int(outputs.shape[1]) - abstains(model)
    raise UserError(
        f"the model raised an error on each of the first {len(x)} rows: {failed(said, x)} Check that the data belongs "
        "to this model."
    ) from said
