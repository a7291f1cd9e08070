"""Measure what every attack of the registry costs by default: `python docs/costs.py`, into docs/costs.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import struthio as st
from struthio.attacks.registry import ATTACKS, attack_class

HERE = Path(__file__).parent
ROWS = 8
# Where some robust digits fall and some hold.
RADII = {"linf": "0.3", "l2": "2", "l1": "15", "l0": "25", "patch": "8x8", "spatial": "30:0.1"}
SMALLEST = "struthio.attacks.minimal."  # these need no radius


def cost(name: str) -> dict[str, float | str]:
    """Forwards and backwards a row, in the first norm of the attack, on robust digits."""
    model = st.load("zoo:digits-robust")
    _, x, labels = next(iter(st.load_data("data:digits").batches(ROWS)))
    kind = attack_class(name)
    norm = kind.norms[0]
    threat = st.threat(f"{norm}:{'inf' if ATTACKS[name].startswith(SMALLEST) else RADII[norm]}")
    result = kind()(model, x, st.Untargeted(labels), threat)
    return {
        "norm": norm,
        "forwards": float(result.forwards.float().mean()),
        "backwards": float(result.backwards.float().mean()),
    }


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
