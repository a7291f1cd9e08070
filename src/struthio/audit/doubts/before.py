"""What speaks against a robustness number before any attack is run."""

from __future__ import annotations

from torch import Tensor

from struthio.attacks.base import no_trace
from struthio.audit.doubts import answers, parts, slopes
from struthio.audit.doubts.kinds import Doubt
from struthio.audit.doubts.precision import Test, beyond_rounding
from struthio.audit.doubts.probe import Probe, probe, untouched
from struthio.failed import Failed
from struthio.rows import RowGenerator, as_generator
from struthio.types import Model, Threat


def examine(
    model: Model, x: Tensor, labels: Tensor, threat: Threat, generator: int | RowGenerator = 0
) -> tuple[Doubt, ...]:
    """Look at a model before it is attacked: at its answers, its slopes and its parts.

    Some 9 forwards and 2 backwards a row, on the first 64 rows; more where something shows. After Carlini et al., 2019,
    arXiv 1902.06705; Athalye, Carlini, Wagner, 2018, arXiv 1802.00420; Pintor et al., 2022, arXiv 2106.09947.

    Args:
        model: any callable from a batch to class scores; parts are looked at in an nn.Module. It is left as it is.
        x: rows [n, ...] within the limits of the threat, best ones that the model gets right.
        labels: their classes [n].
        threat: what may change; its radius sets the scale of "a small step".
        generator: a seed, or the rows' random numbers.

    Returns:
        The doubts, each once; none for a sound model. Where the model fails on noise or a small step, that is one, and
        the test that met it says no more.

    Raises:
        Failed: where the model raises an error on the rows themselves.
    """
    rows = as_generator(generator, x)
    asked = probe(model, x, labels, threat, rows)
    tests = (answers.randomness, answers.scale, answers.noise, slopes.slopes, parts.parts)
    with untouched(model), no_trace(rows):
        _ = asked.clean  # a model that fails on the rows themselves has no answer to be doubted
        mode, constant = tuple(answers.training_mode(asked)), _heard(answers.constant, asked)
        if any(doubt.name == "constant-answers" for doubt in constant):
            return (*mode, *constant)  # there is no slope to be looked at
        found = (*mode, *constant, *(doubt for test in tests for doubt in _heard(test, asked)))
        return tuple({doubt.name: doubt for doubt in found}.values())


def _heard(test: Test, asked: Probe) -> tuple[Doubt, ...]:
    """The doubts of a test; where the model fails on what the test asks, that it does."""
    try:
        return beyond_rounding(test, asked)
    except Failed as error:
        return (Doubt("fails-nearby", f"Asked about noise and small steps, {error}"),)
