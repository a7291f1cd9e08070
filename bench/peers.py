"""The peers behind one call, each used as its documentation says: all rows in one batch, every setting named.

torchattacks and adversarial-library import torchvision, and the latter visdom, which no attack here uses. They are
replaced by empty modules, because torchvision must fit torch to the digit and would replace it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from bench.jobs import Found, Job, Tool
from bench.jobs import job as make_job

DISTRIBUTIONS = {
    "foolbox": "foolbox",
    "torchattacks": "torchattacks",
    "adversarial-library": "adv-lib",
    "ART": "adversarial-robustness-toolbox",
}
Run = Callable[[], Found]
NEVER_USED = ("torchvision", "torchvision.models", "torchvision.transforms", "visdom")


def stand_in_for_missing() -> None:
    """Put empty modules where a peer would import torchvision or visdom and these are not installed."""
    for name in NEVER_USED:
        root = name.partition(".")[0]
        absent = root in sys.modules and getattr(sys.modules[root], "__stand_in__", False)
        if not absent and importlib.util.find_spec(root) is not None:
            continue
        module = ModuleType(name)
        module.__dict__.update(__stand_in__=True, __path__=[])
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        sys.modules[name] = module
        if name != root:
            setattr(sys.modules[root], name.rpartition(".")[2], module)


def installed() -> dict[str, str]:
    """The peers that are here, with their versions."""
    found = {}
    for name, distribution in DISTRIBUTIONS.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            continue
    return found


def prepare(name: str, job: Job) -> Tool | None:
    """A peer's attack, set up and ready to run, or None where the peer does not have it."""
    stand_in_for_missing()
    run = _PEERS[name](job)
    return None if run is None else Tool(run, (job.model,))


def run(
    name: str, attack: str, model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int | None = None
) -> Tensor | None:
    """One attack by one peer: x_adv [n, ...], or None where the peer does not have it."""
    ready = prepare(name, make_job(attack, model, x, y, eps, steps))
    return None if ready is None else ready.run()[0]


def _foolbox(job: Job) -> Run | None:
    import foolbox as fb

    options = {"rel_stepsize": job.share, "steps": job.steps}
    attacks = {
        "fgsm": lambda: fb.attacks.FGSM(),
        "mi-fgsm": lambda: fb.attacks.LinfMomentumIterativeFastGradientMethod(**options),
        "pgd-linf": lambda: fb.attacks.LinfPGD(**options),
        "pgd-l2": lambda: fb.attacks.L2PGD(**options),
    }
    if job.attack not in attacks:
        return None
    attack = attacks[job.attack]()
    model = fb.PyTorchModel(job.model, bounds=(0, 1), device=job.x.device)

    def run() -> Found:
        _, x_adv, won = attack(model, job.x, job.y, epsilons=job.eps)
        return x_adv, won

    return run


def _torchattacks(job: Job) -> Run | None:
    import torchattacks as ta

    options = {"eps": job.eps, "alpha": job.share * job.eps, "steps": job.steps}
    attacks = {
        "fgsm": lambda: ta.FGSM(job.model, eps=job.eps),
        "mi-fgsm": lambda: ta.MIFGSM(job.model, **options),
        "pgd-linf": lambda: ta.PGD(job.model, **options),
        "pgd-l2": lambda: ta.PGDL2(job.model, **options),
        "apgd-ce": lambda: ta.APGD(job.model, eps=job.eps, steps=job.steps),
    }
    attack = attacks[job.attack]()
    return lambda: (attack(job.x, job.y), None)


def _adversarial_library(job: Job) -> Run | None:
    from adv_lib.attacks import apgd, pgd_linf

    if job.attack == "pgd-linf":
        return lambda: (
            pgd_linf(job.model, job.x, job.y, job.eps, steps=job.steps, relative_step_size=job.share),
            None,
        )
    if job.attack == "apgd-ce":
        return lambda: (
            apgd(job.model, job.x, job.y, job.eps, norm=job.norm, n_iter=job.steps, loss_function="ce"),
            None,
        )
    return None


def _art(job: Job) -> Run | None:
    logging.getLogger("art").setLevel(logging.ERROR)
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        classes = job.model(job.x[:1]).shape[1]
    model = PyTorchClassifier(
        job.model, nn.CrossEntropyLoss(), tuple(job.x.shape[1:]), classes, clip_values=(0, 1), device_type="cpu"
    )
    rows = {"norm": job.norm if job.norm == 2 else np.inf, "eps": job.eps, "batch_size": len(job.x)}
    options = {**rows, "eps_step": job.share * job.eps, "max_iter": job.steps, "verbose": False}
    attacks: dict[str, Callable] = {
        "fgsm": lambda: evasion.FastGradientMethod(model, **rows),
        "mi-fgsm": lambda: evasion.MomentumIterativeMethod(model, **options),
        "pgd-linf": lambda: evasion.ProjectedGradientDescent(model, num_random_init=1, **options),
        "pgd-l2": lambda: evasion.ProjectedGradientDescent(model, num_random_init=1, **options),
        "apgd-ce": lambda: evasion.AutoProjectedGradientDescent(
            model, nb_random_init=1, loss_type="cross_entropy", **options
        ),
    }
    attack = attacks[job.attack]()
    x, y = job.x.numpy(), job.y.numpy()
    return lambda: (torch.from_numpy(attack.generate(x, y)), None)


_PEERS: dict[str, Callable[[Job], Run | None]] = {
    "foolbox": _foolbox,
    "torchattacks": _torchattacks,
    "adversarial-library": _adversarial_library,
    "ART": _art,
}
