"""Write the pages of docs/ that are drawn from the code: `make docs`."""

from __future__ import annotations

import inspect
from pathlib import Path

from struthio.attacks.registry import ATTACKS, attack_class

HERE = Path(__file__).parent
HEAD = """# The attacks

Written by `make docs` from `src/struthio/attacks/registry.py`. `struthio show NAME` prints the options of one.

| name | in Python | what it is | sees | norms | paper |
|---|---|---|---|---|---|
"""
TAIL = """
`Repeat`, `Cascade`, `EachTarget` and `SmallestRadius` make attacks of attacks; `SmallestRadius(attack)` turns any
attack of a given radius into one that looks for the smallest.

Which one? `apgd`, then `apgd-t` on what is left, for a robust accuracy; `pgd` for speed and for teaching; `fgsm` only
to compare with old tables. The others (`mi-fgsm` and on) have another purpose: inputs that also fool models
which the attack has not seen.
"""


def attacks() -> str:
    """The table of all attacks."""
    rows = []
    for name in ATTACKS:
        kind = attack_class(name)
        summary = (inspect.getdoc(kind) or "").splitlines()[0]
        cells = (f"`{name}`", f"`st.{kind.__name__}`", summary, kind.access, ", ".join(kind.norms), kind.paper)
        rows.append("| " + " | ".join(cells) + " |\n")
    return HEAD + "".join(rows) + TAIL


if __name__ == "__main__":
    (HERE / "attacks.md").write_text(attacks())
    print("docs/attacks.md")
