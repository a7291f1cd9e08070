"""Reads properties in VNN-LIB, the language of the verification competitions: limits of inputs and forbidden outputs.

A property asks for a counterexample: an input in a box whose outputs keep all the inequalities of one conjunction.
"""

from __future__ import annotations

import gzip
import itertools
import math
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from struthio.checks import UserError

Terms = dict[str, float]  # a sum of multiples of variables; the number alone is under ""
Atom = Terms  # at most 0
MOST = 10_000  # conjunctions after multiplying out


@dataclass(frozen=True)
class Conjunction:
    """All of weights @ outputs <= limits.

    Attributes:
        weights: float64 [k, outputs].
        limits: float64 [k].
    """

    weights: Tensor
    limits: Tensor


@dataclass(frozen=True)
class Case:
    """A box of inputs, and what would be a counterexample in it: any one of the conjunctions.

    Attributes:
        low: the least of each input, float64 [inputs].
        high: the greatest.
        unsafe: the conjunctions.
    """

    low: Tensor
    high: Tensor
    unsafe: tuple[Conjunction, ...]

    def badness(self, outputs: Tensor) -> Tensor:
        """How far outputs [n, outputs] are on the unsafe side, [n]; a counterexample from 0 on."""
        wide = outputs.flatten(1).double() if outputs.dtype is not torch.float64 else outputs.flatten(1)
        each = [(part.limits.to(wide) - wide @ part.weights.to(wide).T).amin(1) for part in self.unsafe]
        return torch.stack(each).amax(0)


def read_property(path: str | Path) -> tuple[Case, ...]:
    """The cases of a .vnnlib or .vnnlib.gz file; a counterexample to any of them is one to the property.

    Strict inequalities are read as the others, which can only make more counterexamples.

    Raises:
        UserError: where the file is missing, broken, or says what is not known here.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text: {error}") from error
    try:
        return parse(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except RecursionError as error:
        raise UserError(f"{path}: its formulas are nested too deeply to be read.") from error


def parse(text: str) -> tuple[Case, ...]:
    """The cases of a property given as text. Raises UserError as `read_property` does."""
    variables: list[str] = []
    common: list[Atom] = []
    choices: list[list[list[Atom]]] = []
    for command in _trees(text):
        match command:
            case ["declare-const" | "declare-fun", str(name), *_]:
                variables.append(name)
            case ["assert", formula]:
                parts = _cases(formula)
                if len(parts) == 1:
                    common += parts[0]
                else:
                    choices.append(parts)
            case _:
                raise UserError(f"{_shown(command)} is not known; declare-const and assert are.")
    inputs, outputs = (sum(name.startswith(kind) for name in variables) for kind in ("X_", "Y_"))
    if not inputs or not outputs:
        raise UserError("a property declares inputs X_0, X_1, ... and outputs Y_0, Y_1, ...")
    _few_enough(choices)
    boxes: dict[tuple[Any, ...], list[list[Atom]]] = {}
    for choice in itertools.product(*choices):
        own = list(itertools.chain(*choice))
        on_inputs = [atom for atom in own if _kind(atom) == "X"]
        key = tuple(tuple(sorted(atom.items())) for atom in on_inputs)
        boxes.setdefault(key, []).append([atom for atom in own if _kind(atom) == "Y"])
    shared = [atom for atom in common if _kind(atom) == "Y"]
    limits = [atom for atom in common if _kind(atom) == "X"]
    cases = [_case(limits + [dict(atom) for atom in key], [shared + part for part in parts], inputs, outputs)
             for key, parts in boxes.items()]  # fmt: skip
    return tuple(case for case in cases if bool((case.low <= case.high).all()))


def _few_enough(choices: list[list[list[Atom]]]) -> None:
    """Raise UserError where too many conjunctions would come of it."""
    count = math.prod(map(len, choices))
    if count > MOST:
        raise UserError(f"multiplied out, the property has {count} cases; at most {MOST} are read.")


def _case(limits: list[Atom], unsafe: list[list[Atom]], inputs: int, outputs: int) -> Case:
    low, high = torch.full((2, inputs), torch.inf, dtype=torch.float64).unbind()
    low = -low
    for atom in limits:
        ((name, factor),) = [(name, factor) for name, factor in atom.items() if name and factor]
        place, edge = _number(name, inputs), -atom.get("", 0.0) / factor
        if factor > 0:
            high[place] = min(float(high[place]), edge)
        else:
            low[place] = max(float(low[place]), edge)
    free = (~(low.isfinite() & high.isfinite())).nonzero().flatten().tolist()
    if free:
        raise UserError(f"X_{free[0]} has no lower or no upper limit; every input needs both.")
    return Case(low, high, tuple(_conjunction(atoms, outputs) for atoms in unsafe))


def _conjunction(atoms: list[Atom], outputs: int) -> Conjunction:
    if not atoms:
        raise UserError("of some inputs nothing is asserted about the outputs; a property says which are forbidden.")
    weights = torch.zeros(len(atoms), outputs, dtype=torch.float64)
    for row, atom in enumerate(atoms):
        for name, factor in atom.items():
            if name:
                weights[row, _number(name, outputs)] += factor
    return Conjunction(weights, torch.tensor([-atom.get("", 0.0) for atom in atoms], dtype=torch.float64))


def _number(name: str, count: int) -> int:
    number = name[2:]
    if not number.isdigit() or int(number) >= count:
        raise UserError(f"{name} is not declared, or inputs and outputs are not numbered from 0.")
    return int(number)


def _kind(atom: Atom) -> str:
    kinds = {name[0] for name, factor in atom.items() if name and factor}
    if kinds == {"X"} and sum(1 for name, factor in atom.items() if name and factor) == 1:
        return "X"
    if kinds == {"Y"}:
        return "Y"
    raise UserError("an inequality must limit one input, or outputs alone; others are not known.")


def _cases(formula: Any) -> list[list[Atom]]:
    """A formula as a list of conjunctions, any of which makes it true."""
    match formula:
        case ["or", *parts]:
            return [case for part in parts for case in _cases(part)]
        case ["and", *parts]:
            choices = list(map(_cases, parts))
            _few_enough(choices)
            return [list(itertools.chain(*choice)) for choice in itertools.product(*choices)]
        case ["<=" | "<", left, right]:
            return [[_sum(left, right, -1.0)]]
        case [">=" | ">", left, right]:
            return [[_sum(right, left, -1.0)]]
        case ["=", left, right]:
            return [[_sum(left, right, -1.0), _sum(right, left, -1.0)]]
    raise UserError(f"{_shown(formula)} is not known; and, or, <=, >=, <, > and = are.")


def _sum(left: Any, right: Any, factor: float) -> Terms:
    total = dict(_terms(left))
    for name, value in _terms(right).items():
        total[name] = total.get(name, 0.0) + factor * value
    return total


def _terms(expression: Any) -> Terms:
    match expression:
        case str(word) if re.fullmatch(r"[XY]_\d+", word):
            return {word: 1.0}
        case str(word):
            with suppress(ValueError):
                if math.isfinite(value := float(word)):
                    return {"": value}
            raise UserError(f"{word!r} is no number and no variable.")
        case ["+", first, *more]:
            return _sum(first, ["+", *more], 1.0) if more else _terms(first)
        case ["-", only]:
            return {name: -value for name, value in _terms(only).items()}
        case ["-", first, *more]:
            return _sum(first, ["+", *more], -1.0)
        case ["*", first, second]:
            for number, rest in ((_terms(first), second), (_terms(second), first)):
                if set(number) == {""}:
                    return {name: number[""] * value for name, value in _terms(rest).items()}
    raise UserError(f"{_shown(expression)} is no sum of multiples of variables.")


def _trees(text: str) -> list[Any]:
    """The commands of the text as nested lists of words."""
    stack: list[list[Any]] = [[]]
    for word in re.findall(r"[()]|[^\s()]+", re.sub(r";[^\n]*", "", text)):
        if word == "(":
            stack.append([])
        elif word != ")":
            stack[-1].append(word)
        elif len(stack) == 1:
            raise UserError("a bracket is closed that was not opened.")
        else:
            done = stack.pop()
            stack[-1].append(done)
    if len(stack) > 1:
        raise UserError("a bracket is not closed.")
    return stack[0]


def _shown(tree: Any) -> str:
    text = str(tree) if not isinstance(tree, list) else "(" + " ".join(map(_shown, tree)) + ")"
    return text if len(text) < 80 else text[:77] + "..."
