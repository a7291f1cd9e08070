"""`struthio list`: what there is, by name."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from struthio.cli import terminal
from struthio.cli.declared import Json

Entry = dict[str, Any]


def list_(
    kind: Annotated[
        Literal["attacks", "threats", "models", "data", "defenses", "detectors", "recipes"] | None,
        Parameter(help="What to list; if not said, what can be listed."),
    ] = None,
    /,
    *,
    json: Json = False,
) -> int:
    """List attacks, threats, models, data, defenses, detectors or recipes."""
    listed = {
        "attacks": attacks, "threats": threats, "models": models, "data": data, "defenses": defenses,
        "detectors": detectors, "recipes": recipes,
    }  # fmt: skip
    entries = listed[kind]() if kind else [{"name": name, "what": summary(of)} for name, of in listed.items()]
    if json:
        terminal.show_json(entries)
        return 0
    from struthio.report import table

    rows = [(e["name"], e["what"], [words(e[k]) for k in e if k not in ("name", "what")]) for e in entries]
    terminal.show(table.entries(rows))
    return 0


def attacks() -> list[Entry]:
    """Every attack of the registry."""
    from struthio.attacks.registry import ATTACKS, attack_class

    return [
        {
            "name": name,
            "what": summary(kind),
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

    return [{"name": name, "what": summary(kind), "example": EXAMPLES[name]} for name, kind in THREATS.items()]


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


def defenses() -> list[Entry]:
    """Every defence of the registry."""
    from struthio.defenses.registry import DEFENSES, defense_class

    return _with_papers({name: defense_class(name) for name in DEFENSES})


def detectors() -> list[Entry]:
    """Every detector of the registry."""
    from struthio.detectors.registry import DETECTORS, detector_class

    return _with_papers({name: detector_class(name) for name in DETECTORS})


def recipes() -> list[Entry]:
    """Every recipe of the registry, then the ready recipe files."""
    from struthio.train.recipe_file import shipped
    from struthio.train.registry import RECIPES, recipe_class

    own = _with_papers({name: recipe_class(name) for name in RECIPES})
    return own + [{"name": name, "what": what, "paper": "a ready file for harden"} for name, what in shipped().items()]


def _with_papers(kinds: dict[str, Any]) -> list[Entry]:
    return [{"name": name, "what": summary(kind), "paper": kind.paper} for name, kind in kinds.items()]


def summary(kind: Any) -> str:
    """What a class or a function is, by the first paragraph of its docstring."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def words(value: Any) -> str:
    """One value, or several."""
    return ", ".join(value) if isinstance(value, list) else str(value)
