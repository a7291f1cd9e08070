"""The discriminator of a GAN: trained to know real rows from generated ones, asked whether an input is real."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.detectors.base import Detector


class Discriminator(Detector):
    """How little a GAN's discriminator takes a row for real.

    Generator and discriminator are small networks of linear layers, trained on the rows with the loss that does not
    saturate (Goodfellow et al., 2014, arXiv 1406.2661). The paper takes a large GAN; which one is left open here.

    Args:
        epochs: how often the GAN sees every row.
        noise: how many random numbers a generated row comes from.
        width: hidden units in each of two layers.
        batch: rows at a time.
        lr: Adam's step, with beta1 0.5.
    """

    paper: ClassVar[str] = "Santhanam, Grnarova, 2018, arXiv 1805.10652"
    looks: ClassVar[bool] = False

    def __init__(self, epochs: int = 20, noise: int = 64, width: int = 128, batch: int = 64, lr: float = 2e-4) -> None:
        super().__init__()
        for name, value in (("epochs", epochs), ("noise", noise), ("width", width), ("batch", batch)):
            checks.count(value, name)
        checks.positive(lr, "lr")
        self.epochs, self.noise, self.width, self.batch, self.lr = epochs, noise, width, batch, lr
        self.net: nn.Module = nn.Identity()

    def build(self, model: nn.Module) -> None:
        """The discriminator, for rows of this shape."""
        super().build(model)
        values = torch.Size(self.shape).numel()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(values, self.width), nn.LeakyReLU(0.2),
            nn.Linear(self.width, self.width), nn.LeakyReLU(0.2), nn.Linear(self.width, 1),
        ).requires_grad_(False)  # fmt: skip

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        low, high = x.aminmax()
        maker = nn.Sequential(
            nn.Linear(self.noise, self.width), nn.ReLU(), nn.Linear(self.width, self.width), nn.ReLU(),
            nn.Linear(self.width, x[0].numel()), nn.Sigmoid(),
        ).to(x)  # fmt: skip
        judge = self.net.requires_grad_(True)
        slow, fast = (torch.optim.Adam(net.parameters(), self.lr, betas=(0.5, 0.999)) for net in (judge, maker))
        for _ in range(self.epochs):
            for some in torch.randperm(len(x)).to(x.device).split(self.batch):
                real = x[some]
                made = (low + (high - low) * maker(torch.randn(len(real), self.noise).to(x))).reshape_as(real)
                slow.zero_grad()
                (F.softplus(-judge(real)).mean() + F.softplus(judge(made.detach())).mean()).backward()
                slow.step()
                fast.zero_grad()
                F.softplus(-judge(made)).mean().backward()
                fast.step()
        judge.requires_grad_(False)
        for parameter in judge.parameters():
            parameter.grad = None

    def score(self, x: Tensor) -> Tensor:
        """The log-odds of a generated row, [n]."""
        real: Tensor = self.net(x)
        return -real[:, 0]
