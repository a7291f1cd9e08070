"""`struthio show`: how an attack, a threat, a defence, a detector or a recipe is used, from its own docstring."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Annotated, Any

from cyclopts import Parameter

from struthio.cli import terminal
from struthio.cli.declared import Json
from struthio.cli.listing import Entry, summary, words

NEEDED = "(needed)"  # in place of a default
SHOWN = {  # a threat of each norm, as examples write it on the command line and in Python
    "linf": ("0.2", "Linf(0.2)"),
    "l2": ("2", "L2(2)"),
    "l1": ("20", "L1(20)"),
    "l0": ("20", "L0(20)"),
    "patch": ("6x6", "Patch(6, 6)"),
    "spatial": ("30:0.1", "Spatial(angle=30, shift=0.1)"),
}


def show(
    name: Annotated[
        str,
        Parameter(metavar="NAME", help="An attack, threat, defence, detector, recipe or recipe file: struthio list."),
    ],
    /,
    *,
    json: Json = False,
) -> int:
    """Show an attack, a threat, a defence, a detector or a recipe: what it does, its options, its paper, an example."""
    from struthio.train.recipe_file import shipped_text

    text = shipped_text(name)
    found = _found(name.lower()) if text is None else {"name": name.lower(), "text": text}
    if json:
        terminal.show_json(found)
    elif text is not None:
        terminal.out().print(text, markup=False, soft_wrap=True, end="")
    else:
        _tell(found)
    return 0


def _tell(found: Entry) -> None:
    from struthio.report.table import facts, listing

    options = [[o["name"], o["default"], o["meaning"]] for o in found["options"]]
    needs = [("needs", found["access"], ""), ("norms", words(found["norms"]), "")] if "access" in found else []
    terminal.show(f"{found['class']}: {found['summary']}\n" + (f"\n{found['more']}\n" if found["more"] else ""))
    if found["paper"]:
        terminal.show(facts([("paper", found["paper"], ""), *needs]), "")
    if options:
        terminal.show(listing(["option", "default", "meaning"], options, wide="meaning"))
    terminal.show("For example:\n")
    for line in found["examples"]:
        terminal.out().print(f"  {line}", markup=False, soft_wrap=True)


def _found(name: str) -> Entry:
    """All that is known of what has this name. Raises UserError, with the nearest names, where nothing has."""
    from struthio.attacks.registry import ATTACKS, UNIVERSAL, attack_class
    from struthio.checks import UserError, near_misses
    from struthio.defenses.registry import DEFENSES, defense_class
    from struthio.detectors.registry import DETECTORS, detector_class
    from struthio.listed import find
    from struthio.threats.table import THREATS
    from struthio.train.recipe_file import shipped
    from struthio.train.registry import RECIPES, recipe_class

    if name in THREATS:
        return _threat(name, THREATS[name])
    if name in ATTACKS:
        return _attack(name, attack_class(name))
    if name in UNIVERSAL:
        return _universal(name, find(name, UNIVERSAL, "universal attack", "universal attacks"))
    if name in DEFENSES:
        return _defense(name, defense_class(name))
    if name in DETECTORS:
        return _detector(name, detector_class(name))
    if name in RECIPES:
        return _recipe(name, recipe_class(name))
    known = [*ATTACKS, *UNIVERSAL, *THREATS, *DEFENSES, *DETECTORS, *RECIPES, *shipped()]
    raise UserError(f"nothing is called {name!r}. {near_misses(name, known, 'names')}")


def _attack(name: str, kind: type[Any]) -> Entry:
    """All that is known of an attack: from its docstring, its fields, and its class."""
    more = {"access": kind.access, "norms": list(kind.norms), "examples": _examples(name, kind)}
    return {**_documented(name, kind), **more}


def _universal(name: str, kind: type[Any]) -> Entry:
    """All that is known of an attack that finds one change for many inputs."""
    lines = [
        f"struthio universal zoo:digits-cnn --data data:digits --attack {name} --threat linf:0.3",
        f"struthio.{kind.__name__}().fit(model, batches, struthio.Linf(0.3)).apply(x)",
    ]
    return {**_documented(name, kind), "examples": lines}


def _threat(name: str, kind: type[Any]) -> Entry:
    """All that is known of a threat."""
    size, made = SHOWN[name]
    lines = [
        f"struthio attack --model zoo:digits-cnn --data data:digits --threat {name}:{size}",
        f"struthio.PGD()(model, x, struthio.Untargeted(labels), struthio.{made})",
    ]
    return {**_documented(name, kind), "examples": lines}


def _recipe(name: str, kind: type[Any]) -> Entry:
    """All that is known of a recipe."""
    lines = [
        f'recipe = {{ name = "{name}" }}',
        "from struthio.train import fit",
        _import(kind),
        f"fit(model, data, {kind.__name__}(...))",
    ]
    return {**_documented(name, kind), "examples": lines}


def _defense(name: str, kind: type[Any]) -> Entry:
    """All that is known of a defence."""
    from struthio.defenses.registry import LEARNT, by_name

    lines = [_import(kind)]
    if name in LEARNT:
        lines = [*lines, f"model = {LEARNT[name]}"]
    elif by_name(kind):
        lines = [
            f"struthio audit zoo:digits-cnn data:digits --threat linf:0.2 --defense {name}",
            *lines,
            f"model = {kind.__name__}.around(model)",
        ]
    return _module(name, kind, lines)


def _detector(name: str, kind: type[Any]) -> Entry:
    """All that is known of a detector."""
    rows = "model, x, y, x_adv" if kind.supervised else "model, x, y"
    lines = [
        "from struthio.detectors import Guarded",
        _import(kind),
        f"detector = {kind.__name__}().fit({rows}).calibrate(others, fpr=0.05)",
        'struthio.audit(Guarded(model, detector), data, "linf:0.2")',
    ]
    return _module(name, kind, lines)


def _module(name: str, kind: type[Any], lines: list[str]) -> Entry:
    """What the docstring and the arguments of a module tell."""
    from struthio.defenses.registry import options_of

    meanings = _meanings(inspect.getdoc(kind) or "")
    options = [
        {
            "name": option,
            "type": str(found.annotation),
            "default": NEEDED if found.default is found.empty else str(found.default),
            "meaning": meanings.get(option, ""),
        }
        for option, found in options_of(kind).items()
    ]
    return {
        "name": name,
        "class": kind.__name__,
        "summary": summary(kind),
        "more": _more(kind),
        "options": options,
        "paper": kind.paper,
        "examples": lines,
    }


def _documented(name: str, kind: type[Any]) -> Entry:
    docs = [inspect.cleandoc(base.__doc__ or "") for base in reversed(kind.__mro__)]  # a family explains what it shares
    meanings = {name: meaning for doc in docs for name, meaning in _meanings(doc).items()}
    options = [
        {"name": f.name, "type": str(f.type), "default": _default(f), "meaning": meanings.get(f.name, "")}
        for f in dataclasses.fields(kind)
    ]
    return {
        "name": name,
        "class": kind.__name__,
        "summary": summary(kind),
        "more": _more(kind),
        "options": options,
        "paper": getattr(kind, "paper", ""),  # a threat has none
    }


def _examples(name: str, kind: type[Any]) -> list[str]:
    norm = kind.norms[0]
    size, threat = SHOWN[norm]
    return [
        f"struthio attack --model zoo:digits-cnn --data data:digits --attack {name} --threat {norm}:{size}",
        f"struthio.{kind.__name__}()(model, x, struthio.Untargeted(labels), struthio.{threat})",
    ]


def _import(kind: type[Any]) -> str:
    return f"from {kind.__module__} import {kind.__name__}"


def _default(field: dataclasses.Field[Any]) -> str:
    from struthio.describe import describe

    if field.default_factory is not dataclasses.MISSING:
        return describe(field.default_factory())
    return NEEDED if field.default is dataclasses.MISSING else describe(field.default)


def _more(kind: type[Any]) -> str:
    """What the docstring says between its first paragraph and its `Args:`."""
    text = (inspect.getdoc(kind) or "").partition("\n\n")[2]
    before = re.split(r"(?:^|\n)\s*Args:\n", text)[0]
    return "\n\n".join(" ".join(part.split()) for part in before.split("\n\n") if part.strip())


def _meanings(text: str) -> dict[str, str]:
    """What each option means, from the `Args:` of a docstring."""
    _, _, listed = text.partition("Args:\n")
    listed = re.split(r"\n\n?(?=\S)", listed)[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in entries}
