"""`struthio audit`: the audit with its progress, its tables, its report and its gate."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from struthio.attacks.suites import LEVELS
from struthio.audit.run import Progress, Tell
from struthio.audit.run import audit as run
from struthio.audit.store import Store
from struthio.audit.summary import Audit
from struthio.checks import UserError, gate, one_of
from struthio.cli import audit_words, terminal
from struthio.cli.audit import Options
from struthio.cli.network import device
from struthio.cli.options import put_around
from struthio.data.files import writable_folder
from struthio.models import load
from struthio.shares import percent


def run_audit(spec: str, data: str, options: Options) -> int:
    """Audit, report, and judge by the gate."""
    if not options.threat:
        raise UserError("what may change was not said. Give --threat, such as --threat linf:8/255.")
    if options.at_least is not None:
        gate(options.at_least, "--at-least")
    if options.compare is not None:
        one_of(options.compare, LEVELS, "--compare")
    if options.output is not None:
        writable_folder(options.output)
    with terminal.quiet_output():
        model = load(spec, weights=options.weights, device=device(options.device))
        model = put_around(model, options.defense)
        surrogates = {other: load(other, device=device(options.device)) for other in options.surrogate}
    name = " + ".join([*reversed(options.defense), spec])

    def audited(level: str, folder: Path) -> Audit:
        with _progress(level) as tell:
            return run(
                model, data, options.threat, level=level, rows=options.count, seed=options.seed,
                batch_size=options.batch_size, folder=folder, certify=options.certify, repair=options.repair,
                stand_ins=_stand_ins(options.stand_in), surrogates=surrogates, workers=options.workers, name=name,
                tell=tell,
            )  # fmt: skip

    with _kept(options.output) as folder, warnings.catch_warnings(record=True) as seen:
        try:
            found = audited(options.level, folder)
            other = None if options.compare is None else audited(options.compare, folder / options.compare)
        except KeyboardInterrupt:
            if options.output is not None:
                terminal.note(f"what was finished is kept in {options.output}; the same command goes on from there.")
            raise
        for warning in seen:
            terminal.note(str(warning.message))
        if options.output is not None:
            _report(folder, options)
        audit_words.tell(found, options, other)
    return _gate(found, options)


def _report(folder: Path, options: Options) -> None:
    from struthio.report.audit_page import write_reports

    with Store.read(folder) as store:
        write_reports(store, folder, at_least=options.at_least)


def _gate(found: Audit, options: Options) -> int:
    said = found.at_most.shortfall(options.at_least)
    if said is not None:
        terminal.error(f"{said} (--at-least).")
    return int(said is not None)


def _stand_ins(texts: tuple[str, ...]) -> dict[str, None]:
    for text in texts:
        part, _, instead = text.partition("=")
        if not part or instead != "identity":
            raise UserError(
                f"--stand-in {text!r} cannot be meant; write PART=identity, such as preprocess=identity. Any other "
                "stand-in can be given in Python: struthio.audit(..., stand_ins={'preprocess': function})."
            )
    return {text.partition("=")[0]: None for text in texts}


@contextmanager
def _kept(output: str | None) -> Iterator[Path]:
    """The folder that was named, or one for the length of the job."""
    if output is not None:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@contextmanager
def _progress(level: str) -> Iterator[Tell]:
    """A bar for each threat, with the part under way and what stands."""
    tasks = {}
    with terminal.bar() as bar:

        def tell(progress: Progress) -> None:
            if progress.threat not in tasks:
                tasks[progress.threat] = bar.add_task(f"{level} {progress.threat}", total=progress.rows, so_far="")
            standing = f", {percent(progress.held / progress.done)} stand" if progress.done else ""
            part = f", {progress.part}" if progress.part else ""
            bar.update(tasks[progress.threat], completed=progress.done, so_far=standing + part)

        yield tell
