"""What adversarial training costs beside its own forwards and backwards: `python -m bench.train -o bench/results`.

PGD-7 training of WRN-16-1 and of the digits CNN on random pictures (their content changes no time). All train one
batch in turn, in an order that changes, in one process on one thread; the clock is the processor's, so that it does not
matter much what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from bench.machine import facts
from struthio.attacks import PGD
from struthio.threats import Linf
from struthio.train.crew import Crew
from struthio.train.fit import begun, one_batch
from struthio.train.job import agreed
from struthio.train.pgd_at import PGDAT
from struthio.train.plan import Plan
from struthio.train.stepper import Stepper
from struthio.zoo.cifar import wide_resnet
from struthio.zoo.digits import DigitsCNN

STEPS, LR = 7, 0.01
Turn = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """What is trained: a network, the shape of its pictures, the radius in Linf, and how many turns are taken."""

    name: str
    net: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    eps: float
    turns: int


CASES = (Case("WRN-16-1", wide_resnet, (3, 32, 32), 8 / 255, 8), Case("digits CNN", DigitsCNN, (1, 28, 28), 0.3, 60))


def ours(case: Case, x: Tensor, y: Tensor) -> Turn:
    """The loop of `struthio harden`, its random numbers, checks and history included."""
    plan = Plan(epochs=1, batch=len(x), lr=LR, precision="float32", evaluation=None)
    recipe = PGDAT(Linf(case.eps), attack=PGD(STEPS, step=0.25, keep="last"))
    model, cpu = case.net(), torch.device("cpu")
    job = agreed(model, (x, y), recipe, plan, None)
    stepper = Stepper(job.recipe, plan, begun(model, job, cpu), Crew(), cpu)
    return lambda: one_batch(job, stepper, job.ids, 0, 1, (False, False))


def by_hand(case: Case, x: Tensor, y: Tensor) -> Turn:
    """The same forwards and backwards in eager PyTorch, with as little around them as can be."""
    model, eps = case.net(), case.eps
    steps = torch.optim.SGD(model.parameters(), LR, momentum=0.9, weight_decay=5e-4)

    def turn() -> None:
        model.eval()
        x_adv = (x + torch.empty_like(x).uniform_(-eps, eps)).clamp_(0, 1)
        for _ in range(STEPS):
            x_adv.requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y, reduction="sum"), x_adv)
            x_adv = (x_adv.detach() + eps / 4 * slope.sign()).clamp(x - eps, x + eps).clamp_(0, 1)
        model.train()
        steps.zero_grad()
        F.cross_entropy(model(x_adv), y).backward()
        steps.step()

    return turn


def art(case: Case, x: Tensor, y: Tensor) -> Turn:
    """The trainer of the Adversarial Robustness Toolbox for Madry's training."""
    from art.defences.trainer import AdversarialTrainerMadryPGD
    from art.estimators.classification import PyTorchClassifier

    model = case.net()
    steps = torch.optim.SGD(model.parameters(), LR, momentum=0.9, weight_decay=5e-4)
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), case.shape, 10, steps, clip_values=(0.0, 1.0), device_type="cpu"
    )
    trainer = AdversarialTrainerMadryPGD(
        classifier, nb_epochs=1, batch_size=len(x), eps=case.eps, eps_step=case.eps / 4, max_iter=STEPS,
        num_random_init=1,
    )  # fmt: skip
    trainer.attack.set_params(verbose=False)
    pixels, labels = x.numpy(), F.one_hot(y, 10).float().numpy()
    return lambda: trainer.fit(pixels, labels, nb_epochs=1, batch_size=len(x))


def measure(case: Case, rows: int, turns: int) -> dict[str, dict[str, float]]:
    """Processor seconds a batch: the least and the median over the turns."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(rows, *case.shape, generator=generator), torch.randint(10, (rows,), generator=generator)
    entrants = {"struthio": ours(case, x, y), "by hand": by_hand(case, x, y), "art": art(case, x, y)}
    taken: dict[str, list[float]] = {name: [] for name in entrants}
    for number in track(range(turns + 1), case.name):
        order = list(entrants)[number % len(entrants) :] + list(entrants)[: number % len(entrants)]
        for name in order:
            start = time.process_time()
            entrants[name]()
            taken[name].append(time.process_time() - start)
    return {name: {"least": min(times[1:]), "median": median(times[1:])} for name, times in taken.items()}


def page(found: dict[str, Any]) -> str:
    """The tables, in Markdown."""
    text = [
        "# What adversarial training costs",
        "",
        f"Written by `python -m bench.train -o bench/results`. PGD-{STEPS} training, batches of {found['rows']} random "
        "pictures on one thread; processor seconds a batch. *By hand* is the same forwards and backwards in eager "
        "PyTorch with nothing around them.",
        "",
        ", ".join(f"{name} {value}" for name, value in found["machine"].items()) + ".",
    ]
    tables = (line for name, case in found["cases"].items() for line in table(name, case, found["rows"]))
    return "\n".join([*text, *tables]) + "\n"


def table(name: str, case: dict[str, Any], rows: int) -> list[str]:
    """The lines of one network."""
    base = case["entrants"]["by hand"]
    text = [
        "",
        f"## {name}, {case['turns']} turns each",
        "",
        "| | least | median | x by hand, least | x by hand, median | rows a second |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for entrant, line in case["entrants"].items():
        least, mid = (line[key] / base[key] for key in ("least", "median"))
        times, speed = f"{line['least']:.4f} | {line['median']:.4f}", rows / line["median"]
        text.append(f"| {entrant} | {times} | {least:.2f} | {mid:.2f} | {speed:.0f} |")
    return text


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="the folder for train.json and train.md")
    parser.add_argument("--rows", type=int, default=64, help="of a batch")
    parser.add_argument("--turns", type=float, default=1.0, help="times as many turns as each network's own number")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"machine": facts(), "rows": wanted.rows, "cases": {}}
    for case in CASES:
        turns = max(1, round(case.turns * wanted.turns))
        found["cases"][case.name] = {"turns": turns, "entrants": measure(case, wanted.rows, turns)}
    print(page(found))
    if wanted.output:
        (wanted.output / "train.json").write_text(json.dumps(found, indent=2) + "\n")
        (wanted.output / "train.md").write_text(page(found))


if __name__ == "__main__":
    main()
