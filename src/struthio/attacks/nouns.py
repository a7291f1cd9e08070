"""The nouns of an attack's call, told apart: what stands in another's place, or is of a kind that cannot be meant."""

from __future__ import annotations

import torch
from torch import Tensor

from struthio.checks import UserError

GOAL = ("check", "check_outputs", "success", "score")
THREAT = ("check", "project", "size", "allows")


def check_nouns(
    model: object, x: object, goal: object, threat: object, loss: object = None, gradient: object = None
) -> None:
    """Raise UserError where one of these is of another kind; the message says what is needed in its place.

    The order of a call is attack(model, x, goal, threat). `loss` and `gradient` are the attack's own, where it
    has them.
    """
    if not callable(model) or isinstance(model, type):
        raise _wrong("the model", model, "a callable from a batch to class scores, such as st.load('zoo:digits-cnn')")
    if not isinstance(x, Tensor):
        raise _wrong("x", x, "a tensor [n, ...] of rows; of a numpy array, torch.from_numpy(x).float()")
    if not _has(goal, GOAL):
        raise _wrong("the goal", goal, "what counts as success, such as st.Untargeted(labels) or st.Targeted(classes)")
    if not _has(threat, THREAT):
        raise _wrong("the threat", threat, "what may change, such as st.Linf(8 / 255) or st.threat('linf:8/255')")
    if loss is not None and not _has(loss, ("away", "toward")):
        raise _wrong("the attack's loss", loss, "a loss of struthio.losses, such as st.DLR() or st.CrossEntropy()")
    if gradient is not None and (isinstance(gradient, type) or not callable(gradient)):
        raise _wrong("the attack's gradient", gradient, "one of struthio.gradients, such as st.Averaged(samples=20)")


def usable(x: Tensor) -> Tensor:
    """The rows without their history; copied where they come from torch.inference_mode, which gradients refuse."""
    return x.clone() if x.is_inference() and not torch.is_inference_mode_enabled() else x.detach()


def _has(value: object, names: tuple[str, ...]) -> bool:
    return not isinstance(value, type) and all(hasattr(value, name) for name in names)


def _wrong(noun: str, given: object, needed: str) -> UserError:
    kind = f"the class {given.__name__} itself" if isinstance(given, type) else f"a {type(given).__name__}"
    return UserError(f"{noun} is {kind}; needed is {needed}. A call is attack(model, x, goal, threat).")
