"""Measure what every attack of the registry costs by default: `python docs/costs.py`, into docs/costs.json.

Two rows are attacked first. Where these cost few passes, eight are: an attack that is dear by default, such as one with
nine searches of a thousand steps, spends nearly the same on every row.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import struthio as st
from struthio.attacks.registry import ATTACKS, attack_class
from struthio.result import Result

HERE = Path(__file__).parent
FEW, ROWS = 2, 8
DEAR = 5000  # passes a row, forwards and backwards together, from which the few rows must do
# Where some robust digits fall and some hold.
RADII = {"linf": "0.3", "l2": "2", "l1": "15", "l0": "25", "patch": "8x8", "spatial": "30:0.1"}
SMALLEST = "struthio.attacks.minimal."  # these need no radius


def cost(name: str) -> dict[str, float | str]:
    """Forwards and backwards a row, in the first norm of the attack, on so many robust digits."""
    norm = attack_class(name).norms[0]
    rows, result = FEW, attacked(name, norm, FEW)
    if float((result.forwards + result.backwards).float().mean()) < DEAR:
        rows, result = ROWS, attacked(name, norm, ROWS)
    return {
        "norm": norm,
        "rows": rows,
        "forwards": float(result.forwards.float().mean()),
        "backwards": float(result.backwards.float().mean()),
    }


def attacked(name: str, norm: str, rows: int) -> Result:
    """The attack with default options on the first rows."""
    model = st.load("zoo:digits-robust")
    _, x, labels = next(iter(st.load_data("data:digits").batches(rows)))
    threat = st.threat(f"{norm}:{'inf' if ATTACKS[name].startswith(SMALLEST) else RADII[norm]}")
    attack: st.Attack = attack_class(name)()
    return attack(model, x, st.Untargeted(labels), threat)


def main() -> None:
    """Measure the attacks named on the command line, or all that have not been measured yet."""
    path = HERE / "costs.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known = {name: known[name] for name in known if name in ATTACKS}
    for name in sys.argv[1:] or [name for name in ATTACKS if name not in known]:
        known[name] = cost(name)
        print(name, known[name], flush=True)
        path.write_text(json.dumps({name: known[name] for name in ATTACKS if name in known}, indent=1) + "\n")


if __name__ == "__main__":
    main()
