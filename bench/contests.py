"""Who looks for the smallest change, at equal cost: the same steps for ours and for every peer that has the attack."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import struthio as st
from bench.peers import installed, stand_in_for_missing
from struthio.attacks.registry import ATTACKS, attack_class

Find = Callable[[nn.Module, Tensor, Tensor], Tensor]  # model, x, labels to x_adv
BALLS = {0.0: st.L0, 1.0: st.L1, 2.0: st.L2, math.inf: st.Linf}
SEARCHES = 9  # over the constant, in the attacks of Carlini and Wagner and in EAD, whoever runs them
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {  # of ours, beside the defaults
    "carlini-wagner": {"struthio, warm": {"warm": True}},
    "ead": {"struthio, beta 0.01": {"beta": 1e-2}},  # foolbox's default
}


@dataclass(frozen=True)
class Contest:
    """One attack in one norm.

    Attributes:
        attack: its name in the registry.
        p: the norm: 0, 1, 2 or infinity.
        tools: who takes part, and how each is called.
    """

    attack: str
    p: float
    tools: dict[str, Find]


def contests(steps: int) -> list[Contest]:
    """All contests, with as many steps; DeepFool, FAB, JSMA and VFGA take their own number."""
    stand_in_for_missing()
    logging.getLogger("art").setLevel(logging.ERROR)
    here = installed()
    found = []
    for (attack, p), entries in _ENTRIES.items():
        tools = {name: partial(find, steps=steps) for name, find in entries.items() if name in here}
        if attack in ATTACKS:
            mine = {name: _ours(attack, p, steps, options) for name, options in VARIANTS.get(attack, {}).items()}
            found.append(Contest(attack, p, {**tools, "struthio": _ours(attack, p, steps, {}), **mine}))
    return found


def _ours(attack: str, p: float, steps: int, options: dict[str, Any]) -> Find:
    known = {field.name for field in dataclasses.fields(attack_class(attack))}
    budget = {"steps": steps}
    for name in {"rounds", "searches"} & known:
        budget = {"steps": steps // SEARCHES, name: SEARCHES}
    if attack in ("deepfool", "super-deepfool", "fab", "fab-t", "jsma", "vfga"):
        budget = {}
    made = attack_class(attack)(**budget, **options)
    return lambda model, x, y: made(model, x, st.Untargeted(y), BALLS[p]()).x_adv


def _foolbox(name: str, options: Callable[[int], dict[str, Any]]) -> Callable[..., Tensor]:
    def find(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
        import foolbox as fb

        attack = getattr(fb.attacks, name)(**options(steps))
        return attack(fb.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, y, epsilons=None)[1]

    return find


def _adv_lib(name: str, options: Callable[[int], dict[str, Any]]) -> Callable[..., Tensor]:
    def find(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
        import adv_lib.attacks

        return getattr(adv_lib.attacks, name)(model, x, y, **options(steps))

    return find


def _torchattacks(name: str, options: Callable[[int], dict[str, Any]]) -> Callable[..., Tensor]:
    def find(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
        import torchattacks

        return getattr(torchattacks, name)(model, **options(steps))(x, y)

    return find


def _art(name: str, options: Callable[[int], dict[str, Any]]) -> Callable[..., Tensor]:
    def find(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier

        with torch.no_grad():
            classes = model(x[:1]).shape[1]
        shape = tuple(x.shape[1:])
        victim = PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0, 1), device_type="cpu")
        attack = getattr(evasion, name)(victim, batch_size=len(x), verbose=False, **options(steps))
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    return find


def _searching(steps: int) -> dict[str, Any]:
    return {"binary_search_steps": SEARCHES, "steps": steps // SEARCHES}


def _searching_art(steps: int) -> dict[str, Any]:
    return {"binary_search_steps": SEARCHES, "max_iter": steps // SEARCHES}


def _fixed(**options: Any) -> Callable[[int], dict[str, Any]]:
    return lambda steps: options


def _norms_of_adv_lib(name: str, steps_name: str, norms: tuple[float, ...]) -> dict[tuple[str, float], Any]:
    options = {p: partial(lambda p, steps: {"norm": p, steps_name: steps}, p) for p in norms}
    return {(name, p): {"adversarial-library": _adv_lib(name, options[p])} for p in norms}


_FOOLBOX_FMN = {0.0: "L0FMNAttack", 1.0: "L1FMNAttack", 2.0: "L2FMNAttack", math.inf: "LInfFMNAttack"}

_ENTRIES: dict[tuple[str, float], dict[str, Callable[..., Tensor]]] = {
    ("deepfool", 2.0): {
        "foolbox": _foolbox("L2DeepFoolAttack", _fixed(steps=50)),
        "adversarial-library": _adv_lib("df", _fixed(steps=50, norm=2)),
        "torchattacks": _torchattacks("DeepFool", _fixed(steps=50)),
        "ART": _art("DeepFool", _fixed(max_iter=50, epsilon=0.02)),
    },
    ("deepfool", math.inf): {
        "foolbox": _foolbox("LinfDeepFoolAttack", _fixed(steps=50)),
        "adversarial-library": _adv_lib("df", _fixed(steps=50, norm=math.inf)),
    },
    ("super-deepfool", 2.0): {"adversarial-library": _adv_lib("sdf", _fixed())},
    ("carlini-wagner", 2.0): {
        "foolbox": _foolbox("L2CarliniWagnerAttack", _searching),
        "adversarial-library": _adv_lib(
            "carlini_wagner_l2",
            lambda steps: {"binary_search_steps": SEARCHES, "max_iterations": steps // SEARCHES},
        ),
        "torchattacks": _torchattacks("CW", lambda steps: {"steps": steps}),
        "ART": _art("CarliniL2Method", _searching_art),
    },
    ("ddn", 2.0): {
        "foolbox": _foolbox("DDNAttack", lambda steps: {"steps": steps}),
        "adversarial-library": _adv_lib("ddn", lambda steps: {"steps": steps, "levels": None}),
    },
    **{
        key: {**tools, "foolbox": _foolbox(_FOOLBOX_FMN[key[1]], lambda steps: {"steps": steps})}
        for key, tools in _norms_of_adv_lib("fmn", "steps", (0.0, 1.0, 2.0, math.inf)).items()
    },
    **_norms_of_adv_lib("pdpgd", "num_steps", (0.0, 1.0, 2.0, math.inf)),
    ("alma", 2.0): {"adversarial-library": _adv_lib("alma", lambda n: {"num_steps": n, "distance": "l2"})},
    ("alma", 1.0): {
        "adversarial-library": _adv_lib(
            "alma", lambda n: {"num_steps": n, "distance": "l1", "lr_init": 0.5, "init_lr_distance": 0.5}
        )
    },
    ("sigma-zero", 0.0): {"adversarial-library": _adv_lib("sigma_zero", lambda steps: {"num_steps": steps})},
    ("fab", 2.0): {"adversarial-library": _adv_lib("fab", _fixed(norm=2.0, n_iter=100))},
    ("fab", 1.0): {"adversarial-library": _adv_lib("fab", _fixed(norm=1.0, n_iter=100))},
    ("fab", math.inf): {"adversarial-library": _adv_lib("fab", _fixed(norm=math.inf, n_iter=100))},
    ("ead", 1.0): {
        "foolbox": _foolbox("EADAttack", lambda steps: {**_searching(steps), "decision_rule": "L1"}),
        "torchattacks": _torchattacks(
            "EADL1", lambda steps: {"binary_search_steps": SEARCHES, "max_iterations": steps // SEARCHES}
        ),
        "ART": _art("ElasticNet", lambda steps: {**_searching_art(steps), "decision_rule": "L1"}),
    },
    ("jsma", 0.0): {
        "torchattacks": _torchattacks("JSMA", _fixed(theta=1.0, gamma=0.145)),
        "ART": _art("SaliencyMapMethod", _fixed(theta=1.0, gamma=0.145)),
    },
    ("vfga", 0.0): {"adversarial-library": _adv_lib("vfga", _fixed(targeted=False))},
    ("trust-region", 2.0): {"adversarial-library": _adv_lib("tr", lambda n: {"iter": n, "p": 2, "adaptive": True})},
    ("trust-region", math.inf): {
        "adversarial-library": _adv_lib("tr", lambda n: {"iter": n, "p": math.inf, "adaptive": True})
    },
    ("brendel-bethge", 2.0): {"foolbox": _foolbox("L2BrendelBethgeAttack", lambda steps: {"steps": steps})},
    **{("auto-minimal", p): {} for p in BALLS},
    ("lbfgs", 2.0): {},
    ("carlini-wagner-linf", math.inf): {},
    ("carlini-wagner-l0", 0.0): {},
}
