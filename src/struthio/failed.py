"""A model that fails, in one line: what it was given, its own error and the place of it, and the likely fix."""

from __future__ import annotations

from pathlib import Path
from traceback import extract_tb

from torch import Tensor

from struthio.checks import UserError

OWN = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
FIXES = {  # by words of the error
    ("channels", "size mismatch", "shapes cannot be multiplied", "Expected 3D"): (
        "Give it the channels and the size that it was made for ([n, channels, height, width], a batch), or put the "
        "conversion into the model."
    ),
    ("should be the same", "same dtype", "same device"): (
        "Bring both to one dtype and device, such as model.float().to(x.device); a model that is to stay in half "
        "precision is asked through struthio.models.single.AskedInSingle(model, torch.bfloat16)."
    ),
    ("invalid for input of size", "nvalid dimensions for input", "Axis 0 has mismatched"): (
        "It is asked about any number of rows: where one is written into it, as in x.view(32, -1), let it take any, as "
        "in x.flatten(1)."
    ),
}
OURS = str(Path(__file__).parent)


class Failed(UserError, RuntimeError):
    """The model raised an error of its own, which is the cause of this one and stands in its message."""


def failed(error: Exception, x: Tensor) -> Failed:
    """What became of a model that was asked about x [n, ...] and raised an error."""
    fixes = [f" {fix}" for words, fix in FIXES.items() if any(word in str(error) for word in words)]
    given = f"inputs of shape {tuple(x.shape)}, {x.dtype} on {x.device}"
    return Failed(f"the model failed on {given}: {raised(error)}.{''.join(fixes[:1])}")


def raised(error: BaseException) -> str:
    """What went wrong in somebody else's code, in one line: the error, and the place nearest to it outside packages."""
    text = str(error).strip().splitlines()
    frames = [frame for frame in extract_tb(error.__traceback__) if _elsewhere(frame.filename)]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text[0] if text else ''}{place}"


def _elsewhere(file: str) -> bool:
    return "site-packages" not in file and not file.startswith(OURS)
