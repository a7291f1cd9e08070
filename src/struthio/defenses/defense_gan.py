"""Defense-GAN: a picture is replaced by the nearest one that a generator of ordinary pictures can make."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.base import Defense
from struthio.defenses.training import USUAL, Course, Epoch, Progress, finite, fresh, training
from struthio.put_back import seeded
from struthio.rows import norm


class Generator(nn.Module):
    """A latent vector to a picture, through two hidden layers of `width` and twice as many units.

    Args:
        latent: numbers in a latent vector.
        channels: of the pictures.
        side: of the pictures, in pixels.
        width: units of the first hidden layer.
    """

    def __init__(self, latent: int = 32, channels: int = 1, side: int = 28, width: int = 256) -> None:
        super().__init__()
        for name, value in (("latent", latent), ("channels", channels), ("side", side), ("width", width)):
            checks.count(value, name)
        self.latent, self.shape = latent, (channels, side, side)
        self.net = nn.Sequential(
            nn.Linear(latent, width),
            nn.ReLU(),
            nn.Linear(width, 2 * width),
            nn.ReLU(),
            nn.Linear(2 * width, channels * side**2),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """[n, latent] to pictures [n, channels, side, side] in (0, 1)."""
        made: Tensor = self.net(z).unflatten(1, self.shape)
        return made


def critic(values: int, width: int) -> nn.Sequential:
    """Pictures of so many values to one number each, higher for real ones."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(values, 2 * width),
        nn.LeakyReLU(0.2),
        nn.Linear(2 * width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, 1),
    )


class DefenseGAN(Defense):
    """x becomes G(z*), z* the best of R descents of |G(z) - x|^2, L steps each (Samangouei et al., 2018, 1805.06605).

    Descents start at random points. No gradient arrives: the descent is long, and is not recorded. The stand-in is the
    identity, as in the partial break of Athalye, Carlini and Wagner, 2018, arXiv 1802.00420, who left 55 % of digits.
    Their other way, a search among what the generator makes, is `gauntlet/manifold.py`, and stronger here.
    Both networks are small and of linear layers, where the paper's are large and convolutional.

    Args:
        channels: of the pictures [n, channels, side, side] in [0, 1].
        side: of the pictures, in pixels.
        latent: numbers in a latent vector; published: 128.
        width: units of the generator's first hidden layer and of the critic's last; twice as many in the other one.
        steps: L, the steps of each descent.
        restarts: R, the descents of each row.
        lr: the step size of the descent, with a momentum of 0.7, for the mean square over pixels; a tenth of it in the
            last fifth of the steps.
    """

    paper: ClassVar[str] = "Samangouei et al., 2018, arXiv 1805.06605"
    random = True

    def __init__(
        self,
        channels: int = 1,
        side: int = 28,
        latent: int = 32,
        width: int = 256,
        steps: int = 200,
        restarts: int = 10,
        lr: float = 10.0,
    ) -> None:
        super().__init__()
        checks.count(steps, "steps")
        checks.count(restarts, "restarts")
        checks.positive(lr, "lr")
        self.generator = Generator(latent, channels, side, width)
        self.width, self.steps, self.restarts, self.lr = width, steps, restarts, lr

    def forward(self, x: Tensor) -> Tensor:
        """The nearest pictures found, [n, channels, side, side]."""
        with torch.no_grad():
            nearest: Tensor = self.generator(self.invert(x))
            return nearest

    @torch.no_grad()
    def invert(self, x: Tensor) -> Tensor:
        """The latent vectors of the nearest pictures found, [n, latent]."""
        shape = self.generator.shape
        if x.shape[1:] != shape:
            raise UserError(f"x has shape {tuple(x.shape)}, but the generator makes pictures of shape {shape}.")
        wanted = x.detach().repeat_interleave(self.restarts, 0)
        # One draw a row, of all its starts, with the deviation of the published code.
        z = torch.randn(len(x), self.restarts * self.generator.latent).to(x) / self.generator.latent**0.5
        z = self._descend(z.reshape(len(wanted), -1), wanted)
        off = _off(self.generator(z), wanted).reshape(len(x), self.restarts)
        found: Tensor = z.unflatten(0, off.shape)[torch.arange(len(x)), off.argmin(1)]
        return found

    def stand_in(self, x: Tensor) -> Tensor:
        """The identity."""
        return x

    def _descend(self, z: Tensor, wanted: Tensor) -> Tensor:
        velocity = torch.zeros_like(z)
        for step in range(self.steps):
            with torch.enable_grad():
                here = z.detach().requires_grad_()
                (slope,) = torch.autograd.grad(_off(self.generator(here), wanted).sum(), here)
            rate = self.lr if step < 0.8 * self.steps else self.lr / 10
            velocity = 0.7 * velocity + slope
            z = z - rate * velocity
        return z

    def fit(
        self,
        x: Tensor,
        *,
        critics: int = 2,
        penalty: float = 10.0,
        course: Course = USUAL,
        progress: Progress | None = None,
    ) -> Self:
        """Train the generator as a Wasserstein GAN with gradient penalty (Gulrajani et al., 2017, arXiv 1704.00028).

        Args:
            x: ordinary pictures [n, channels, side, side] in [0, 1].
            critics: steps of the critic for each of the generator; published: 5.
            penalty: the weight of (|slope of the critic| - 1)^2.
            course: how long and how fast; an epoch shows every row to the critic once.
            progress: called after each pass with an `Epoch`, whose loss is the distance that the critic sees.

        Returns:
            The defence itself, in evaluation mode.

        Raises:
            UserError: where training diverges.
        """
        checks.count(critics, "critics")
        fresh(self, course.seed)
        with seeded(course.seed), torch.enable_grad(), training(self):
            judge = critic(x[0].numel(), self.width).to(x)
            tells = torch.optim.Adam(judge.parameters(), course.lr, betas=(0.5, 0.9))
            makes = torch.optim.Adam(self.generator.parameters(), course.lr, betas=(0.5, 0.9))
            step = 0
            for number in range(1, course.epochs + 1):
                distances = []
                for ids in torch.randperm(len(x)).split(course.batch_size):
                    real = x[ids.to(x.device)]
                    made = self._sample(real)
                    distance = judge(real).mean() - judge(made.detach()).mean()
                    distances.append(finite(distance, number, course.lr))
                    _step(tells, judge, penalty * _penalty(judge, real, made.detach()) - distance)
                    step += 1
                    if step % critics == 0:
                        _step(makes, self.generator, -judge(self._sample(real)).mean())
                if progress is not None:
                    progress(Epoch(number, sum(distances) / len(distances)))
        return self

    def _sample(self, like: Tensor) -> Tensor:
        made: Tensor = self.generator(torch.randn(len(like), self.generator.latent).to(like))
        return made


def _off(made: Tensor, wanted: Tensor) -> Tensor:
    """The mean square over a picture, [n]."""
    return (made - wanted).square().flatten(1).mean(1)


def _penalty(judge: nn.Module, real: Tensor, made: Tensor) -> Tensor:
    """How far the critic's slope is from 1, between real pictures and made ones."""
    between = torch.lerp(made, real, torch.rand(len(real), 1, 1, 1).to(real)).requires_grad_()
    (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
    return (norm(slope, 2) - 1).square().mean()


def _step(optimizer: torch.optim.Optimizer, net: nn.Module, loss: Tensor) -> None:
    loss.backward(inputs=list(net.parameters()))
    optimizer.step()
    optimizer.zero_grad()
