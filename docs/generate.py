"""Write the pages of docs/ that are drawn from the code: `make docs`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from struthio.attacks.registry import ATTACKS, attack_class
from struthio.defenses.registry import DEFENSES, defense_class
from struthio.detectors.registry import DETECTORS, detector_class
from struthio.gauntlet.words import markdown
from struthio.train.registry import RECIPES, recipe_class

HERE = Path(__file__).parent
HEAD = """# The attacks

Written by `make docs` from `src/struthio/attacks/registry.py`. `struthio show NAME` prints the options of one.

**cost** is what a row costs with default options, forwards + backwards, measured by `python docs/costs.py` on eight
digits of `zoo:digits-robust`, two where that is dear, in the first norm named; rows that are won early cost less.
Blank: not measured yet.
"""
GROUPS = {
    "Inside a radius, from gradients": (
        "Which one? `apgd`, then `apgd-t` on what is left, for a robust accuracy; `pgd` for speed and for teaching; "
        "`fgsm` only to compare with old tables. The others (`mi-fgsm` and on) have another purpose: inputs that also "
        "fool models which the attack has not seen.\n\n"
        "`Repeat`, `Cascade`, `SmallestOf`, `EachTarget` and `SmallestRadius` make attacks of attacks; `SmallestOf` "
        "runs several minimal attacks and keeps each row's smallest win; `SmallestRadius(attack)` turns any attack of "
        "a given radius into one that looks for the smallest."
    ),
    "The smallest change, from gradients": (
        "These need no radius (`st.L2()`, or `--threat l2`); one that is given is a cap, beyond which a win does not "
        "count. Which one? `auto-minimal`: it shares 1,000 forwards and 1,000 backwards a row among several that fail "
        "in different places. Which single ones were strongest at equal cost, by norm and network, says the page "
        "[bench/results/smallest.md](../bench/results/smallest.md)."
    ),
    "Black box, from scores": (
        "`square` first. They are given a radius, a number of questions, and see the scores of the classes; "
        "`st.scores_only(model)` makes sure of it."
    ),
    "Black box, from labels": (
        "These see the strongest class alone (`st.labels_only(model)` makes sure of it), and look for the smallest "
        "change that keeps it wrong."
    ),
}
COLUMNS = "name | in Python | what it is | norms | cost | paper"


def group(name: str) -> str:
    """The heading under which an attack stands."""
    by_access = {"scores": "Black box, from scores", "labels": "Black box, from labels"}
    smallest = ".minimal." in ATTACKS[name]
    plain = "The smallest change, from gradients" if smallest else "Inside a radius, from gradients"
    return by_access.get(attack_class(name).access, plain)


def row(name: str, costs: dict[str, dict[str, float]]) -> tuple[str, ...]:
    """One line of a table."""
    kind = attack_class(name)
    spent = f"{costs[name]['forwards']:,.0f} + {costs[name]['backwards']:,.0f}" if name in costs else ""
    return f"`{name}`", f"`st.{kind.__name__}`", summary(kind), ", ".join(kind.norms), spent, kind.paper


def attacks() -> str:
    """The tables of all attacks, and which to use when."""
    path = HERE / "costs.json"
    costs = json.loads(path.read_text()) if path.exists() else {}
    page = HEAD
    for heading, words in GROUPS.items():
        rows = [row(name, costs) for name in ATTACKS if group(name) == heading]
        if rows:
            page += f"\n## {heading}\n\n{table(COLUMNS, rows)}\n{words}\n"
    return page


DEFENSES_HEAD = """# Defences

Written by `make docs` from the registries; `struthio list defenses` (or `detectors`, `recipes`) and
`struthio show NAME` give the same at the terminal. What an audit leaves of each is in [gauntlet.md](gauntlet.md).

A defence says how it is to be attacked. **random**: the same input may get another answer, so slopes are averaged over
draws (EOT). **stand-in**: it has no useful gradient, and brings along what the gradient is to be taken of (BPDA).
`st.audit` reads both by itself; `st.adaptive(model, attack)` does so for one attack.
"""
DEFENSES_USE = """
In one line: `st.Jpeg.around(net, 75)`, or `st.defended(net, "jpeg", quality=75)` by name. Those with weights of
their own are trained first: `struthio show NAME` says how.
"""
DETECTORS_USE = """
`detector.fit(net, x, y)`, with adversarial rows where it is taught by example, then
`detector.calibrate(x_held, fpr=0.05)`. `st.Guarded(net, detector)` answers as the network does and abstains where the
detector flags a row; an audit of it attacks both at once (`st.Evade`). What was learnt is kept by
`detector.save(path)` and `detector.load(path, net)`, and by the state dict of the guarded model.
"""
RECIPES_USE = """
`struthio harden RECIPE.toml`: see [harden.md](harden.md).
"""


def table(columns: str, rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    rule = "|" + "---|" * (columns.count("|") + 1)
    lines = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join([f"| {columns} |", rule, *(f"| {line} |" for line in lines)]) + "\n"


def summary(kind: type) -> str:
    """What a class does, by the first lines of its docstring."""
    return (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")


def declared(kind: type) -> str:
    """What a defence or a detector says of itself."""
    said = {"random": getattr(kind, "random", False), "stand-in": getattr(kind, "stand_in", None) is not None}
    return ", ".join(name for name, true in said.items() if true is True)


def defenses() -> str:
    """The tables of all that is put around a model, judges its inputs, or trains it."""
    around = [(name, kind, declared(kind)) for name in DEFENSES for kind in [defense_class(name)]]
    judges = [
        (name, kind, "yes" if kind.supervised is True else "", declared(kind))
        for name in DETECTORS
        for kind in [detector_class(name)]
    ]
    losses = [(name, kind) for name in RECIPES for kind in [recipe_class(name)]]

    def rows(listed: list[tuple[Any, ...]]) -> list[tuple[str, ...]]:
        return [(f"`{name}`", kind.__name__, summary(kind), *more, kind.paper) for name, kind, *more in listed]

    return "\n".join([
        DEFENSES_HEAD, "## Around a model\n",
        table("name | class | what it does | declares | paper", rows(around)) + DEFENSES_USE,
        "## Judging an input\n",
        table("name | class | what it does | taught by example | declares | paper", rows(judges)) + DETECTORS_USE,
        "## Training\n", table("name | class | what it does | paper", rows(losses)) + RECIPES_USE,
    ])  # fmt: skip


def gauntlet() -> str:
    """The page of the gauntlet with the board of `gauntlet.json` between its marks."""
    said = HERE / "gauntlet.json"
    board = markdown(json.loads(said.read_text())) if said.exists() else "Not run yet.\n"
    before, _, rest = (HERE / "gauntlet.md").read_text().partition("<!-- board -->")
    _, _, after = rest.partition("<!-- /board -->")
    return f"{before}<!-- board -->\n{board}<!-- /board -->{after}"


PAGES = {"attacks.md": attacks, "defenses.md": defenses, "gauntlet.md": gauntlet}

if __name__ == "__main__":
    for name, write in PAGES.items():
        (HERE / name).write_text(write())
        print(f"docs/{name}")
