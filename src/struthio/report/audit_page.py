"""The report of an audit: one page that needs nothing else, and the same for machines."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import jinja2

from struthio.audit.doubts import KINDS, Doubt
from struthio.audit.folder import plainly
from struthio.audit.store import Store
from struthio.audit.summary import Audit, summarise
from struthio.audit.verdict import Count, Verdict
from struthio.report import junit, sarif
from struthio.report.audit_figures import Curve, Detection, Piece, curve, detection, pieces
from struthio.report.audit_rows import Gallery, gallery
from struthio.report.numbers import class_text, seconds_text, size_text
from struthio.report.repeat import again, in_python, rows_text
from struthio.shares import Share, percent

HERE = Path(__file__).parent
CLASSES = 20  # that are shown where there are more
ERRORS = 20
UNMENDED = "Nothing was done about it."
Said = list[tuple[list[str], str]]


@dataclass(frozen=True)
class Section:
    """What the page says about one threat."""

    name: str
    verdict: Verdict
    bar: list[Piece]
    curve: Curve | None
    detection: Detection | None
    classes: list[tuple[int, Count, list[Piece]]]
    gallery: Gallery
    suite: list[tuple[str, str, int]]
    eps: str
    median: str
    finished: bool


def write_reports(store: Store, folder: str | Path, at_least: float | None = None) -> None:
    """Write `report.html`, `audit.json`, `junit.xml` and `audit.sarif` into a folder.

    Raises UserError where the disk is full.

    Args:
        store: of an audit, finished or not.
        folder: where to; the audit's own, as a rule.
        at_least: the gate: the share that the lower 95 % limit of robust accuracy must reach.
    """
    found, folder = summarise(store), Path(folder)
    with plainly(folder):
        _write(folder / "report.html", page(store, found, at_least))
        _write(folder / "audit.json", json.dumps(found.figures(), indent=2, ensure_ascii=False, allow_nan=False))
        _write(folder / "junit.xml", junit.document(found, at_least))
        _write(folder / "audit.sarif", json.dumps(sarif.document(found, at_least), indent=2, ensure_ascii=False))


def write_page(store: Store, path: str | Path, at_least: float | None = None) -> None:
    """Write the page alone."""
    path = Path(path)
    with plainly(path.parent):
        _write(path, page(store, summarise(store), at_least))


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def page(store: Store, found: Audit, at_least: float | None = None) -> str:
    """The page as text."""
    job, sections = found.job, [_section(store, text, verdict) for text, verdict in found.threats.items()]
    text = _template().render(
        found=found,
        job=job,
        sections=sections,
        missing=[text for text in job["threats"] if text not in found.threats],
        worst=None if found.worst is None else (Share(found.worst.held, found.worst.rows), pieces(found.worst)),
        doubts=_doubts(found),
        looked_for={name: kind for name, kind in KINDS.items() if job["surrogates"] or name != "transfer-wins"},
        gate=None if at_least is None or not sections else (at_least, found.at_most),
        how_many=rows_text(job),
        again=again(job),
        in_python=in_python(job),
        named=partial(class_text, names=store.noted("class names", ())),
        totals=_totals(found),
        few_errors=ERRORS,
    )
    return junit.FORBIDDEN.sub("?", text).strip()


@cache
def _template() -> jinja2.Template:
    """What comes from outside is escaped in it, everywhere."""
    rooms = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    rooms.filters.update(percent=lambda share: percent(share).replace(" ", "\u00a0"), seconds=seconds_text)
    return rooms.get_template("audit_page.html")


def _section(store: Store, text: str, verdict: Verdict) -> Section:
    plan = store.noted(f"plan {text}", {})
    chosen = sorted(verdict.classes.items(), key=lambda one: (one[1].held / one[1].rows, one[0]))[:CLASSES]
    attacks = [*verdict.attacks, f"at any radius, on the first {len(verdict.smallest)} rows"]
    return Section(
        name=text,
        verdict=verdict,
        bar=pieces(verdict.count),
        curve=curve(verdict),
        detection=detection(verdict),
        classes=[(label, count, pieces(count)) for label, count in sorted(chosen)],
        gallery=gallery(store, text, plan["names"], verdict.p),
        suite=[(name, how, verdict.wins.get(name, 0)) for name, how in zip(plan["names"], attacks, strict=False)
               if name != "smallest change" or verdict.smallest],
        eps=size_text(verdict.eps, verdict.p),
        median=size_text(verdict.median, verdict.p) if math.isfinite(verdict.median) else "",
        finished=bool(plan.get("finished")),
    )  # fmt: skip


def _doubts(found: Audit) -> list[tuple[Doubt, Said, Said]]:
    """Each kind of doubt once, with what was measured and what was done, and under which threats."""
    kinds: dict[str, dict[str, Doubt]] = {}
    for text, verdict in found.threats.items():
        for doubt in verdict.doubts:
            kinds.setdefault(doubt.name, {})[text] = doubt
    return [
        (
            next(iter(several.values())),
            _said({text: doubt.evidence for text, doubt in several.items()}, len(found.threats)),
            _said({text: doubt.remedy or UNMENDED for text, doubt in several.items()}, len(found.threats)),
        )
        for several in kinds.values()
    ]


def _said(several: dict[str, str], threats: int) -> Said:
    """Each sentence once, with the threats of which it was said; with none where it was said of all."""
    told: dict[str, list[str]] = {}
    for text, sentence in several.items():
        told.setdefault(sentence, []).append(text)
    return [([] if len(names) == threats else names, sentence) for sentence, names in told.items()]


def _totals(found: Audit) -> dict[str, float]:
    """What all threats together cost."""
    verdicts = list(found.threats.values())
    return {name: sum(getattr(one, name) for one in verdicts) for name in ("forwards", "backwards", "seconds")}
