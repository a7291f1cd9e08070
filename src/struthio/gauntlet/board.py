"""Row after row: a naive attack, the audit, and what came out on the disk before the next begins."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from struthio import checks
from struthio._version import __version__
from struthio.attacks import PGD
from struthio.audit import Progress, audit
from struthio.audit.judge import majority
from struthio.audit.verdict import Verdict
from struthio.checks import UserError
from struthio.data.files import replacing, writable_folder
from struthio.gauntlet.outcome import Outcome, outcome_from
from struthio.gauntlet.registry import rows_named
from struthio.gauntlet.row import Row
from struthio.gauntlet.workshop import Workshop
from struthio.goals import Untargeted, abstains, against
from struthio.gradients import NoGradient
from struthio.threats.table import threat as threat_from_text

NAIVE = PGD(steps=40)
Tell = Callable[[str, str, int], None]  # the row, what is under way, how many rows lie behind


@dataclass(frozen=True)
class Board:
    """All rows with what came out.

    Attributes:
        asked: with which options.
        rows: by their names, in their order.
        outcomes: by the same names; those that were left out are missing.
        left_out: why, by name.
    """

    asked: Mapping[str, Any]
    rows: Mapping[str, Row]
    outcomes: Mapping[str, Outcome]
    left_out: Mapping[str, str]


def gauntlet(
    names: Sequence[str] = (),
    *,
    count: int = 100,
    folder: str | Path | None = None,
    cifar: str | None = None,
    seed: int = 0,
    tell: Tell = lambda row, part, done: None,
) -> Board:
    """Let every defence of the board meet a naive attack and the audit.

    The naive attack is PGD with 40 steps on the model as it is: no stand-in, no mean over chance. The audit is
    `struthio.audit` at its level "standard", without proofs. Both are judged on the model as given, by most of the
    same number of fresh draws where it is random. Called again with the same folder it goes on where it was stopped.

    Args:
        names: of rows; all where none is named.
        count: inputs that each row is tried on, at most 1,000.
        folder: where networks, findings and outcomes are kept; None keeps them for the length of the call.
        cifar: CIFAR-10 as text for `load_data`, with its parts `:train` and `:test`; without it, rows that need it
            are left out.
        seed: of all random numbers.
        tell: told which row is under way, with which part, and how many lie behind.

    Raises:
        UserError: for an unknown row, a folder that holds another board, a full disk.
    """
    checks.count(count, "count")
    rows = rows_named(names)
    outcomes: dict[str, Outcome] = {}
    left_out = {name: "needs CIFAR-10, by --data" for name, row in rows.items() if row.data == "cifar" and not cifar}
    asked = {"struthio": __version__, "count": count, "seed": seed}
    with _place(folder) as place:
        if any(row.data == "cifar" for name, row in rows.items() if name not in left_out):
            Workshop(place, seed, cifar).rows("cifar", "test")  # what cannot be read is said before hours of work
        for done, (name, row) in enumerate(rows.items()):
            if name in left_out:
                continue

            def say(part: str, name: str = name, done: int = done) -> None:
                tell(name, part, done)

            shop = Workshop(writable_folder(place / "networks"), seed, cifar, say)
            with_data = {**asked, "data": cifar} if row.data == "cifar" else asked
            outcomes[name] = _kept(name, row, shop, place / "rows" / name, with_data, say)
    return Board(asked, rows, outcomes, left_out)


def _kept(
    name: str, row: Row, shop: Workshop, folder: Path, asked: Mapping[str, Any], say: Callable[[str], None]
) -> Outcome:
    """The outcome of an earlier call with the same options, or a new one, which is kept."""
    path = writable_folder(folder) / "outcome.json"
    if path.exists():
        return _read(path, asked)
    outcome = _try(name, row, shop, folder, int(asked["count"]), int(asked["seed"]), say)
    with replacing(path) as beside:
        beside.write_text(json.dumps({"asked": dict(asked), "outcome": outcome.figures()}, indent=2) + "\n")
    return outcome


def _read(path: Path, asked: Mapping[str, Any]) -> Outcome:
    try:
        held = json.loads(path.read_text())
        before, outcome = held["asked"], outcome_from(held["outcome"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not what was written there ({error}). Remove it, and the row is tried again."
        ) from error
    if before != dict(asked):
        raise UserError(
            f"{path.parent} holds a row that was tried with other options ({_said(before)}; given {_said(asked)}). "
            "Give the same options to go on with it, or name another folder with -o."
        )
    return outcome


def _said(asked: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in asked.items())


def _try(
    name: str, row: Row, shop: Workshop, folder: Path, count: int, seed: int, say: Callable[[str], None]
) -> Outcome:
    started = time.perf_counter()
    say("making the model")
    model = row.make(shop).eval()
    x, y = (part[:count] for part in shop.rows(row.data, "test"))

    def audited(repair: bool, place: str) -> Verdict:
        def part(progress: Progress) -> None:
            say(progress.part or "auditing")

        found = audit(
            model, (x, y), row.threat, seed=seed, folder=folder / place, certify="none", repair=repair, name=name,
            tell=part,
        )  # fmt: skip
        return found.verdict

    found = audited(True, "audit")
    say("the naive attack")
    right = ~majority(model, x, Untargeted(y), found.draws, seed + 1)
    fell = _naive(row, model, x, y, found.draws, seed)
    beyond = row.beyond and row.beyond(model, x, y, threat_from_text(row.threat))
    return Outcome(
        of=len(x),
        clean=found.clean.count,
        naive=int((right & ~fell).sum()),
        audited=found.at_most.count,
        unrepaired=audited(False, "unrepaired").at_most.count if row.sound else None,
        doubts=tuple(doubt.name for doubt in found.doubts),
        repairs=found.log,
        seconds=time.perf_counter() - started,
        beyond=None if beyond is None else int((right & beyond).sum()),
    )


def _naive(row: Row, model: nn.Module, x: Tensor, y: Tensor, draws: int, seed: int) -> Tensor:
    """The rows that PGD wins from the model as it is, bool [n]; where it cannot begin, those that are lost anyway."""
    x_adv = x
    with suppress(NoGradient):
        x_adv = NAIVE(row.seen(model), x, Untargeted(y), threat_from_text(row.threat), seed).x_adv
    goal = against(y, abstains(model))
    return majority(model, x_adv, goal, draws, seed + 2)


@contextmanager
def _place(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield writable_folder(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)
