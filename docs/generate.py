"""Write the pages of docs/ that are drawn from the code: `make docs`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from struthio.attacks.registry import ATTACKS, attack_class

HERE = Path(__file__).parent
HEAD = """# The attacks

Written by `make docs` from `src/struthio/attacks/registry.py`. `struthio show NAME` prints the options of one.

**cost** is what a row costs with default options, forwards + backwards, measured by `python docs/costs.py` on eight
digits of `zoo:digits-robust` in the first norm named; rows that are won early cost less. Blank: not measured yet.
"""
GROUPS = {
    "Inside a radius, from gradients": (
        "Which one? `apgd`, then `apgd-t` on what is left, for a robust accuracy; `pgd` for speed and for teaching; "
        "`fgsm` only to compare with old tables. The others (`mi-fgsm` and on) have another purpose: inputs that also "
        "fool models which the attack has not seen.\n\n"
        "`Repeat`, `Cascade`, `EachTarget` and `SmallestRadius` make attacks of attacks; `SmallestRadius(attack)` "
        "turns any attack of a given radius into one that looks for the smallest."
    ),
    "The smallest change, from gradients": (
        "These need no radius (`st.L2()`, or `--threat l2`); one that is given is a cap, beyond which a win does not "
        "count. Which one? The page [bench/results/smallest.md](../bench/results/smallest.md) says which were "
        "strongest at equal cost, by norm and network."
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
COLUMNS = """
| name | in Python | what it is | norms | cost | paper |
|---|---|---|---|---|---|
"""


def group(name: str) -> str:
    """The heading under which an attack stands."""
    by_access = {"scores": "Black box, from scores", "labels": "Black box, from labels"}
    smallest = ".minimal." in ATTACKS[name]
    plain = "The smallest change, from gradients" if smallest else "Inside a radius, from gradients"
    return by_access.get(attack_class(name).access, plain)


def row(name: str, costs: dict[str, dict[str, float]]) -> str:
    """One line of a table."""
    kind = attack_class(name)
    summary = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")
    spent = f"{costs[name]['forwards']:,.0f} + {costs[name]['backwards']:,.0f}" if name in costs else ""
    cells = (f"`{name}`", f"`st.{kind.__name__}`", summary, ", ".join(kind.norms), spent, kind.paper)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def attacks() -> str:
    """The tables of all attacks, and which to use when."""
    path = HERE / "costs.json"
    costs = json.loads(path.read_text()) if path.exists() else {}
    page = HEAD
    for heading, words in GROUPS.items():
        rows = "".join(row(name, costs) for name in ATTACKS if group(name) == heading)
        if rows:
            page += f"\n## {heading}\n{COLUMNS}{rows}\n{words}\n"
    return page


if __name__ == "__main__":
    (HERE / "attacks.md").write_text(attacks())
    print("docs/attacks.md")
