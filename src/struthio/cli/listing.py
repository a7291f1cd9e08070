"""`struthio list` and `struthio show`: what there is, and how an attack is used."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from struthio.cli import terminal

Json = Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON in place of tables.")]
Entry = dict[str, Any]


def list_(
    kind: Annotated[Literal["attacks", "threats", "models", "data"], Parameter(help="What to list.")],
    /,
    *,
    json: Json = False,
) -> int:
    """List attacks, threats, models or data."""
    entries = {"attacks": attacks, "threats": threats, "models": models, "data": data}[kind]()
    if json:
        terminal.show_json(entries)
        return 0
    from struthio.report import table

    rows = [(e["name"], e["what"], [_words(e[k]) for k in e if k not in ("name", "what")]) for e in entries]
    terminal.show(table.entries(rows))
    return 0


def show(
    attack: Annotated[str, Parameter(metavar="ATTACK", help="Its name: struthio list attacks.")],
    /,
    *,
    json: Json = False,
) -> int:
    """Show an attack: what it does, its options, its paper, an example."""
    from struthio.attacks.registry import attack_class

    found = described(attack.lower(), attack_class(attack))
    if json:
        terminal.show_json(found)
        return 0
    from struthio.report.table import facts, listing

    options = [[o["name"], o["default"], o["meaning"]] for o in found["options"]]
    terminal.show(
        f"{found['class']}: {found['summary']}\n" + (f"\n{found['more']}\n" if found["more"] else ""),
        facts([("paper", found["paper"], ""), ("needs", found["access"], ""), ("norms", _words(found["norms"]), "")]),
        "",
        *([listing(["option", "default", "meaning"], options, wide="meaning")] if options else []),
        "An example, and the same in Python:\n",
    )
    for line in found["examples"]:
        terminal.out().print(f"  {line}", markup=False, soft_wrap=True)
    return 0


def attacks() -> list[Entry]:
    """Every attack of the registry."""
    from struthio.attacks.registry import ATTACKS, attack_class

    return [
        {
            "name": name,
            "what": _summary(kind),
            "access": kind.access,
            "norms": list(kind.norms),
            "paper": kind.paper,
        }
        for name in ATTACKS
        for kind in [attack_class(name)]
    ]


def threats() -> list[Entry]:
    """Every threat that `--threat` takes."""
    from struthio.threats.table import EXAMPLES, THREATS

    return [{"name": name, "what": _summary(kind), "example": EXAMPLES[name]} for name, kind in THREATS.items()]


def models() -> list[Entry]:
    """The networks of the zoo, then the forms that `--model` takes."""
    from struthio.models.loading import SPECS
    from struthio.zoo import ZOO

    own = [
        {
            "name": f"zoo:{name}",
            "what": entry.summary,
            "input": " x ".join(map(str, entry.input_size)),
            "accuracy": entry.accuracy,
            "licence": entry.licence,
        }
        for name, entry in ZOO.items()
    ]
    yours = [{"name": spec, "what": what, "input": "", "accuracy": "", "licence": ""} for spec, what in SPECS.items()]
    return own + yours


def data() -> list[Entry]:
    """The forms that `--data` takes."""
    from struthio.data.table import DATA

    return [{"name": kind.spec, "what": kind.what, "size": kind.size, "licence": kind.licence} for kind in DATA]


def described(name: str, kind: type[Any]) -> Entry:
    """All that is known of an attack: from its docstring, its fields, and its class."""
    from struthio.describe import describe

    text = inspect.getdoc(kind) or ""
    summary, _, more = text.partition("\n\n")
    docs = [inspect.cleandoc(base.__doc__ or "") for base in reversed(kind.__mro__)]  # a family explains what it shares
    meanings = {name: meaning for doc in docs for name, meaning in _meanings(doc).items()}
    options = [
        {"name": f.name, "type": str(f.type), "default": describe(_default(f)), "meaning": meanings.get(f.name, "")}
        for f in dataclasses.fields(kind)
    ]
    return {
        "name": name,
        "class": kind.__name__,
        "summary": " ".join(summary.split()),
        "more": _before_args(more),
        "options": options,
        "paper": kind.paper,
        "access": kind.access,
        "norms": list(kind.norms),
        "examples": _examples(name, kind),
    }


def _examples(name: str, kind: type[Any]) -> list[str]:
    norm = kind.norms[0]
    size, threat = {
        "linf": ("0.2", "Linf(0.2)"),
        "l2": ("2", "L2(2)"),
        "l1": ("20", "L1(20)"),
        "l0": ("20", "L0(20)"),
        "patch": ("6x6", "Patch(6, 6)"),
        "spatial": ("30:0.1", "Spatial(angle=30, shift=0.1)"),
    }[norm]
    return [
        f"struthio attack --model zoo:digits-cnn --data data:digits --attack {name} --threat {norm}:{size}",
        f"struthio.{kind.__name__}()(model, x, struthio.Untargeted(labels), struthio.{threat})",
    ]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _summary(kind: type[Any]) -> str:
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def _before_args(text: str) -> str:
    before = re.split(r"(?:^|\n)\s*Args:\n", text)[0]
    return "\n\n".join(" ".join(part.split()) for part in before.split("\n\n") if part.strip())


def _meanings(text: str) -> dict[str, str]:
    """What each option means, from the `Args:` of a docstring."""
    _, _, listed = text.partition("Args:\n")
    listed = re.split(r"\n\n?(?=\S)", listed)[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in entries}


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
