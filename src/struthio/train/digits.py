"""How the shipped digits networks were made: `python -m struthio.train.digits digits-robust -o weights.safetensors`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.progress import Progress
from safetensors.torch import save_file
from torch import Tensor

from struthio.attacks import PGD
from struthio.data.digits import digits
from struthio.goals import Untargeted
from struthio.rows import RowGenerator
from struthio.threats import Linf
from struthio.train.batches import moved
from struthio.zoo.digits import DigitsCNN

Perturb = Callable[[DigitsCNN, Tensor, Tensor, int, Tensor], Tensor]


def plain(model: DigitsCNN, x: Tensor, y: Tensor, epoch: int, ids: Tensor) -> Tensor:
    """Train on the pictures as they are."""
    return x


def robust(model: DigitsCNN, x: Tensor, y: Tensor, epoch: int, ids: Tensor, eps: float = 0.3, ramp: int = 12) -> Tensor:
    """Train on adversarial pictures alone (Madry et al., 2018, arXiv 1706.06083), the radius growing over 12 epochs.

    Without the ramp, training at 0.3 can stall at the accuracy of a guess.
    """
    radius = eps * min(1.0, (epoch + 1) / ramp)
    attack = PGD(steps=10, step=0.25, keep="last")
    return attack(model, x, Untargeted(y), Linf(radius), RowGenerator.seeded(epoch, ids)).x_adv


RECIPES: dict[str, tuple[Perturb, int]] = {"digits-cnn": (plain, 30), "digits-robust": (robust, 60)}


def train(name: str, seed: int = 0, batch: int = 50) -> DigitsCNN:
    """Train a network by its recipe: Adam with a cosine schedule, pictures shifted by up to one pixel."""
    perturb, epochs = RECIPES[name]
    torch.manual_seed(seed)
    x, y = digits("train")
    model = DigitsCNN()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    with Progress() as progress:
        for epoch in progress.track(range(epochs), description=name):
            for ids in torch.randperm(len(x)).split(batch):
                seen = perturb(model, shifted(x[ids]), y[ids], epoch, ids)
                loss = F.cross_entropy(model(seen), y[ids])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
    return model.eval()


def shifted(x: Tensor, most: int = 1) -> Tensor:
    """Each picture moved by up to `most` pixels, black coming in."""
    return moved(x, torch.randint(2 * most + 1, (2, len(x))).T, most)


def accuracies(model: DigitsCNN) -> tuple[float, float]:
    """Accuracy on the 1,000 test digits, clean and under PGD-40 at Linf 0.3 in steps of 0.01."""
    x, y = digits("test")
    with torch.no_grad():
        clean = float((model(x).argmax(1) == y).float().mean())
    won = PGD(steps=40, step=1 / 30)(model, x, Untargeted(y), Linf(0.3)).rate
    return clean, 1 - won


def main() -> None:
    """Train, save and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("-o", "--output", type=Path, help="where the weights go (.safetensors)")
    wanted = parser.parse_args()
    model = train(wanted.name)
    if wanted.output:
        save_file(model.state_dict(), wanted.output)
    clean, left = accuracies(model)
    print(f"{wanted.name}: {clean:.1%} of 1,000 test digits, {left:.1%} under PGD-40 at Linf 0.3")


if __name__ == "__main__":
    main()
