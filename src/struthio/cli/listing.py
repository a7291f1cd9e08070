"""`struthio list` and `struthio show`: what there is, and how an attack or a recipe is used."""

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
    kind: Annotated[
        Literal["attacks", "threats", "models", "data", "defenses", "detectors", "recipes"],
        Parameter(help="What to list."),
    ],
    /,
    *,
    json: Json = False,
) -> int:
    """List attacks, threats, models, data, defenses, detectors or recipes."""
    listed = {
        "attacks": attacks, "threats": threats, "models": models, "data": data, "defenses": defenses,
        "detectors": detectors, "recipes": recipes,
    }  # fmt: skip
    entries = listed[kind]()
    if json:
        terminal.show_json(entries)
        return 0
    from struthio.report import table

    rows = [(e["name"], e["what"], [_words(e[k]) for k in e if k not in ("name", "what")]) for e in entries]
    terminal.show(table.entries(rows))
    return 0


def show(
    name: Annotated[
        str,
        Parameter(metavar="NAME", help="An attack, defence, detector, recipe or ready recipe file: see struthio list."),
    ],
    /,
    *,
    json: Json = False,
) -> int:
    """Show an attack, a defence, a detector or a recipe: what it does, its options, its paper, an example."""
    from struthio.attacks.registry import attack_class
    from struthio.defenses.registry import DEFENSES, defense_class
    from struthio.detectors.registry import DETECTORS, detector_class
    from struthio.train.recipe_file import shipped_text
    from struthio.train.registry import RECIPES, recipe_class

    text = shipped_text(name)
    if text is not None and not json:
        terminal.out().print(text, markup=False, soft_wrap=True, end="")
        return 0
    given = name.lower()
    if given in DEFENSES:
        found = _defense(given, defense_class(given))
    elif given in DETECTORS:
        found = _detector(given, detector_class(given))
    else:
        found = _recipe(given, recipe_class(given)) if given in RECIPES else described(given, attack_class(given))
    if json:
        terminal.show_json(found if text is None else {"name": given, "text": text})
        return 0
    from struthio.report.table import facts, listing

    options = [[o["name"], o["default"], o["meaning"]] for o in found["options"]]
    needs = [("needs", found["access"], ""), ("norms", _words(found["norms"]), "")] if "access" in found else []
    terminal.show(
        f"{found['class']}: {found['summary']}\n" + (f"\n{found['more']}\n" if found["more"] else ""),
        facts([("paper", found["paper"], ""), *needs]),
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
    return [{"name": name, "what": _summary(kind), "paper": kind.paper} for name, kind in kinds.items()]


def described(name: str, kind: type[Any]) -> Entry:
    """All that is known of an attack: from its docstring, its fields, and its class."""
    more = {"access": kind.access, "norms": list(kind.norms), "examples": _examples(name, kind)}
    return {**_documented(name, kind), **more}


def _recipe(name: str, kind: type[Any]) -> Entry:
    """All that is known of a recipe."""
    lines = [
        f'recipe = {{ name = "{name}" }}',
        f"struthio.train.fit(model, data, {kind.__module__}.{kind.__name__}(...))",
    ]
    return {**_documented(name, kind), "examples": lines}


def _defense(name: str, kind: type[Any]) -> Entry:
    """All that is known of a defence."""
    from struthio.defenses.registry import by_name

    lines = [f"{kind.__module__}.{kind.__name__}"]
    if by_name(kind):
        lines = [
            f"struthio audit zoo:digits-cnn data:digits --threat linf:0.2 --defense {name}",
            f"{lines[0]}.around(model)",
        ]
    return _module(name, kind, lines)


def _detector(name: str, kind: type[Any]) -> Entry:
    """All that is known of a detector."""
    rows = "model, x, y, x_adv" if kind.supervised else "model, x, y"
    lines = [
        f"detector = {kind.__module__}.{kind.__name__}().fit({rows}).calibrate(others, fpr=0.05)",
        'struthio.audit(struthio.detectors.Guarded(model, detector), data, "linf:0.2")',
    ]
    return _module(name, kind, lines)


def _module(name: str, kind: type[Any], lines: list[str]) -> Entry:
    """What the docstring and the arguments of a module tell."""
    from struthio.defenses.registry import options_of

    text = inspect.getdoc(kind) or ""
    meanings = _meanings(text)
    options = [
        {
            "name": option,
            "type": str(found.annotation),
            "default": "" if found.default is found.empty else str(found.default),
            "meaning": meanings.get(option, ""),
        }
        for option, found in options_of(kind).items()
    ]
    return {
        "name": name,
        "class": kind.__name__,
        "summary": _summary(kind),
        "more": _before_args(text.partition("\n\n")[2]),
        "options": options,
        "paper": kind.paper,
        "examples": lines,
    }


def _documented(name: str, kind: type[Any]) -> Entry:
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
    return "" if field.default is dataclasses.MISSING else field.default


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
