"""`struthio certify NET.onnx PROPERTY.vnnlib`: an attack, bounds, then halves or cuts, until the time is up."""

from __future__ import annotations

import gzip
import tempfile
import time
import warnings
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from struthio.attacks import PGD
from struthio.certify.network import NotBounded
from struthio.certify.properties import FEW, prove
from struthio.certify.split import Proof
from struthio.certify.trace import trace
from struthio.certify.vnnlib import Case, read_property
from struthio.checks import UserError, need, positive
from struthio.cli import terminal
from struthio.cli.certify import Options
from struthio.data.files import writable_folder
from struthio.losses import Margin
from struthio.models.onnx import OnnxScores, from_onnx
from struthio.threats import Linf
from struthio.types import Loss

RESTARTS = 32
SHOWN = 64  # numbers of a counterexample that are printed


@dataclass(frozen=True)
class Violation:
    """The goal of a counterexample: outputs on the unsafe side of a case.

    Args:
        case: the inequalities.
    """

    case: Case

    def check(self, x: Tensor) -> None:
        """Every row will do."""

    def check_outputs(self, outputs: Tensor) -> None:
        """Any outputs of the right number will do."""

    def success(self, outputs: Tensor) -> Tensor:
        """Rows on the unsafe side, bool [n]."""
        return self.score(Margin(), outputs) >= 0

    def score(self, loss: Loss, outputs: Tensor) -> Tensor:
        """How far, whatever the loss, [n]."""
        return self.case.badness(outputs).to(outputs.dtype)

    def __getitem__(self, rows: object) -> Violation:
        return self


class Unit(nn.Module):
    """A network as a function of where an input lies in its box, from 0 to 1: inputs of any width count alike.

    Args:
        model: the network.
        low: [1, ...], the least inputs in single precision that lie in the box.
        high: the greatest.
    """

    low: Tensor
    high: Tensor

    def __init__(self, model: nn.Module, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def place(self, z: Tensor) -> Tensor:
        """The input at z."""
        return torch.minimum(torch.maximum(self.low + z * (self.high - self.low), self.low), self.high)

    def forward(self, z: Tensor) -> Tensor:
        """The network's outputs there."""
        outputs: Tensor = self.model(self.place(z))
        return outputs


def run_property(network: str, property_: str, options: Options) -> int:
    """Answer, print the answer, and write the counterexample where asked."""
    positive(options.timeout, "--timeout")
    for name, value in (("--threat", options.threat), ("--weights", options.weights), ("--device", options.device)):
        if value is not None:
            raise UserError(f"{name} is for data sets; a property says all that is needed.")
    if options.output is not None:
        writable_folder(Path(options.output).parent)
    started = time.perf_counter()
    cases = read_property(property_)
    with ExitStack() as stack:
        path = _unpacked(Path(network), Path(stack.enter_context(tempfile.TemporaryDirectory())))
        model, exact, size = _loaded(path)
        for case in cases[:1]:
            _fits(case, exact, size, network)
        answer, example = decide(model, exact, size, cases, time.perf_counter() + options.timeout)
        outputs = None if example is None else exact(example).flatten().tolist()
    inputs = None if example is None else example.flatten().tolist()
    if options.json:
        told = {
            "answer": answer,
            "inputs": inputs,
            "outputs": outputs,
            "seconds": round(time.perf_counter() - started, 3),
        }
        terminal.show_json(told)
    else:
        print(answer)
    if inputs is not None and outputs is not None:
        _give(inputs, outputs, options)
    return 1 if answer == "unknown" else 0


def _fits(case: Case, exact: nn.Module, size: torch.Size, network: str) -> None:
    """Raise UserError where the property is about another number of inputs or outputs than the network has."""
    if case.low.numel() != size.numel():
        raise UserError(
            f"the property is about {case.low.numel()} inputs, but {network} takes {size.numel()} {list(size)}."
        )
    try:
        outputs = exact(_inside(case)[0].reshape(1, *size))
    except RuntimeError as error:
        raise UserError(f"{network} cannot be run on one row: {str(error)[:200]}") from error
    asserted = case.unsafe[0].weights.shape[1]
    if outputs.numel() != asserted or not outputs.is_floating_point():
        raise UserError(
            f"the property is about {asserted} outputs, but {network} gives {outputs.numel()} of {outputs.dtype}."
        )


def decide(
    model: nn.Module, exact: nn.Module, size: torch.Size, cases: tuple[Case, ...], until: float
) -> tuple[str, Tensor | None]:
    """The answer over all cases, "sat", "unsat" or "unknown", and a counterexample [1, ...] where there is one.

    Args:
        model: the network as a module, with gradients where it could be converted.
        exact: the same under onnxruntime, which has the last word about a counterexample.
        size: of one input.
        cases: of the property.
        until: when to stop, on the clock of `time.perf_counter`.
    """
    sure, seconds = True, until - time.perf_counter()
    for number, case in enumerate(cases):
        end = until - seconds * (len(cases) - number - 1) / len(cases)
        proof = _case(model, exact, size, case, end)
        if proof.answer == "sat":
            return "sat", proof.example
        sure &= proof.answer == "unsat"
    return ("unsat" if sure else "unknown"), None


def _case(model: nn.Module, exact: nn.Module, size: torch.Size, case: Case, until: float) -> Proof:
    """A short attack, a longer one where inputs are many, then a proof, and longer attacks while there is time."""
    low, high = _inside(case)
    unit = Unit(model, low.reshape(1, *size), high.reshape(1, *size)).eval()

    @torch.no_grad()
    def confirm(x: Tensor) -> bool:
        x = torch.minimum(torch.maximum(x.float(), unit.low), unit.high)
        return bool(case.badness(exact(x)) >= 0)

    for steps in (10,) if case.low.numel() <= FEW else (10, 40):
        found = _attacked(unit, case, confirm, size, steps, steps)
        if found is not None:
            return Proof("sat", found)
    try:
        network = trace(model, unit.place(torch.full((1, *size), 0.5)))
        proof = prove(network, case, confirm, until)
    except NotBounded as error:
        terminal.note(f"no bounds: {error}")
        proof = Proof("unknown")
    if proof.answer == "sat" and proof.example is not None:
        return Proof("sat", torch.minimum(torch.maximum(proof.example.float(), unit.low), unit.high))
    turn = 1
    while proof.answer == "unknown" and time.perf_counter() < until:
        found = _attacked(unit, case, confirm, size, 50 * turn, turn)
        if found is not None:
            return Proof("sat", found)
        turn += 1
    return proof


def _attacked(unit: Unit, case: Case, confirm: object, size: torch.Size, steps: int, seed: int) -> Tensor | None:
    """A confirmed counterexample that PGD found from random starts, [1, ...]."""
    middle = torch.full((RESTARTS, *size), 0.5)
    try:
        result = PGD(steps=steps)(unit, middle, Violation(case), Linf(0.5), seed)
    except (RuntimeError, UserError):
        return None  # scores alone have no gradient, and a file for single rows takes no others
    for z in result.x_adv[result.score.argsort(descending=True)][: 1 + int(result.success.sum())][:4]:
        x = unit.place(z.unsqueeze(0))
        if callable(confirm) and confirm(x):
            return x
    return None


def _inside(case: Case) -> tuple[Tensor, Tensor]:
    """The limits in single precision, rounded into the box; the nearest number where none lies inside."""
    low, high = case.low.float(), case.high.float()
    low = torch.where(low.double() < case.low, torch.nextafter(low, torch.full_like(low, torch.inf)), low)
    high = torch.where(high.double() > case.high, torch.nextafter(high, torch.full_like(high, -torch.inf)), high)
    nearest = ((case.low + case.high) / 2).float()
    return torch.where(low > high, nearest, low), torch.where(low > high, nearest, high)


def _unpacked(path: Path, folder: Path) -> Path:
    if path.suffix != ".gz":
        return path
    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    whole = folder / path.stem
    try:
        whole.write_bytes(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked: {error}") from error
    return whole


def _loaded(path: Path) -> tuple[nn.Module, nn.Module, torch.Size]:
    """The network as a module, the same under onnxruntime, and the shape of one input."""
    with warnings.catch_warnings(record=True) as said, terminal.quiet_output():
        warnings.simplefilter("always")
        model = from_onnx(path).eval()
    for warning in said:
        if "gives scores" in str(warning.message):
            terminal.note(str(warning.message))
    onnx = need("onnx", "onnx")
    graph = onnx.load(str(path), load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    (given,) = [part for part in graph.input if part.name not in stored]
    sides = [side.dim_value for side in given.type.tensor_type.shape.dim][1:]
    if not sides or not all(sides):
        raise UserError(
            f"{path.name} takes rows of the open shape {[side or 'any' for side in sides]}; bounds need a fixed one, "
            "behind the batch."
        )
    return model, OnnxScores(str(path)).eval(), torch.Size(sides)


def _give(inputs: list[float], outputs: list[float], options: Options) -> None:
    """The counterexample in the form of the competitions: ((X_0 0.5) ... (Y_0 1.25))."""
    parts = [f"(X_{place} {value!r})" for place, value in enumerate(inputs)]
    parts += [f"(Y_{place} {value!r})" for place, value in enumerate(outputs)]
    text = "(" + "\n ".join(parts) + ")"
    if options.output is not None:
        try:
            Path(options.output).write_text(text + "\n")
        except OSError as error:
            raise UserError(f"{options.output} cannot be written: {error}") from error
    elif not options.json and len(parts) <= SHOWN:
        print(text)
    elif not options.json:
        terminal.note("the counterexample is long; --output FILE keeps it.")
