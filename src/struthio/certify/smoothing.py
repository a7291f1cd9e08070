"""Randomised smoothing: the class that a model gives most often under Gaussian noise, with a radius that is certain.

Cohen, Rosenfeld, Kolter, 2019, arXiv 1902.02918: if the likeliest class has a probability of at least p under noise
of deviation sigma, no change shorter than sigma * Phi^-1(p) makes another one likelier. The probability is bounded from
draws, so that the certificate is wrong with a probability of at most alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from struthio import checks
from struthio.defenses.base import Defense
from struthio.rows import RowGenerator, as_generator

ABSTAIN = -1
DRAWS = 32  # of noise at once for a row: a constant, so that no answer depends on the batch
VALUES = 2**24  # input values at once


@dataclass(frozen=True)
class SmoothCertificate:
    """What is certain about each row, each with the probability 1 - alpha.

    Attributes:
        labels: the class that noise leaves most often, int64 [n]; -1 where the draws do not decide, and it abstains.
        radius: the L2 radius within which it stays so, [n]; 0 where it abstains.
        share: the lower bound on its probability under noise, [n].
    """

    labels: Tensor
    radius: Tensor
    share: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def accuracy(self, labels: Tensor, radius: float = 0.0) -> float:
        """The share of rows with the right class and a certified radius of at least `radius`."""
        return float(((self.labels == labels) & (self.radius >= radius)).double().mean())


class SmoothedModel(Defense):
    """A model under Gaussian noise. Called, it gives the logarithm of its mean probabilities over fresh noise.

    Args:
        model: from a batch to logits [n, classes], best trained under the same noise.
        sigma: the deviation of the noise, in the units of the input.
        samples: draws of one call; `predict` and `certify` name their own.
    """

    paper: ClassVar[str] = "Cohen, Rosenfeld, Kolter, 2019, arXiv 1902.02918"
    random = True

    def __init__(self, model: nn.Module, sigma: float = 0.25, samples: int = 16) -> None:
        super().__init__()
        checks.positive(sigma, "sigma")
        checks.count(samples, "samples")
        self.model, self.sigma, self.samples = model, sigma, samples

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """The model smoothed."""
        smoothed = cls(model, *options, **named)
        smoothed.training = model.training
        return smoothed

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities [n, classes], differentiable: the gradient of SmoothAdv (Salman et al., 2019, arXiv
        1906.04584).
        """
        noisy = x.repeat_interleave(self.samples, 0)
        outputs: Tensor = self.model(noisy + self.sigma * torch.randn_like(noisy))
        each = outputs.log_softmax(1).unflatten(0, (len(x), self.samples))
        mean: Tensor = each.logsumexp(1) - math.log(self.samples)
        return mean

    def predict(self, x: Tensor, n: int = 1000, alpha: float = 0.001, generator: int | RowGenerator = 0) -> Tensor:
        """The most frequent class of each row, int64 [n]; -1 where draws cannot tell it from the second at level alpha.

        Args:
            x: rows [n, ...].
            n: draws a row.
            alpha: the probability of a wrong answer.
            generator: a seed, or numbers that belong to the rows.
        """
        checks.count(n, "n")
        checks.share(alpha, "alpha")
        counts = self._counts(x, n, as_generator(generator, x))
        top = counts.topk(2, dim=1)
        doubt = [min(1.0, 2 * _tail(int(a), int(a + b), 0.5)) for a, b in top.values.tolist()]
        return top.indices[:, 0].masked_fill(torch.tensor(doubt, device=x.device) > alpha, ABSTAIN)

    def certify(
        self, x: Tensor, n: int = 100_000, n0: int = 100, alpha: float = 0.001, generator: int | RowGenerator = 0
    ) -> SmoothCertificate:
        """The class and the certified L2 radius of each row. Noise may leave the limits of the input, as in the paper.

        Args:
            x: rows [n, ...].
            n: draws that bound the probability of a class.
            n0: draws, other ones, that choose the class.
            alpha: the probability that a certificate is wrong.
            generator: a seed, or numbers that belong to the rows.
        """
        for value, name in ((n, "n"), (n0, "n0")):
            checks.count(value, name)
        checks.share(alpha, "alpha")
        rows = as_generator(generator, x)
        chosen = self._counts(x, n0, rows.fold(0)).argmax(1)
        hits = self._counts(x, n, rows.fold(1)).gather(1, chosen[:, None]).flatten()
        found = {count: least_share(count, n, alpha) for count in set(hits.tolist())}
        share = torch.tensor([found[count] for count in hits.tolist()], dtype=torch.float64, device=x.device)
        sure = share > 0.5
        radius = torch.where(sure, self.sigma * torch.special.ndtri(share), torch.zeros_like(share))
        return SmoothCertificate(chosen.masked_fill(~sure, ABSTAIN), radius, share)

    @torch.no_grad()
    def _counts(self, x: Tensor, n: int, generator: RowGenerator) -> Tensor:
        """How often each class comes out of n draws, int64 [rows, classes]."""
        checks.mode(self.model)
        size = max(1, VALUES // (DRAWS * x[0].numel()))
        return torch.cat([
            self._count(x[at : at + size], n, generator[slice(at, at + size)]) for at in range(0, len(x), size)
        ])  # fmt: skip

    def _count(self, x: Tensor, n: int, generator: RowGenerator) -> Tensor:
        counts: Tensor | None = None
        for done in range(0, n, DRAWS):
            noise = self.sigma * generator.normal((DRAWS, *x.shape[1:]), x.dtype)[:, : n - done]
            outputs = self.model((x.unsqueeze(1) + noise).flatten(0, 1))
            votes = nn.functional.one_hot(outputs.argmax(1), outputs.shape[1]).unflatten(0, noise.shape[:2]).sum(1)
            counts = votes if counts is None else counts + votes
        assert counts is not None
        return counts


def least_share(count: int, of: int, alpha: float) -> float:
    """The one-sided lower limit of Clopper and Pearson (1934) for `count` of `of`, wrong with probability alpha."""
    if count == 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        p = (low + high) / 2
        low, high = (p, high) if _tail(count, of, p) < alpha else (low, p)
    return low


def _tail(count: int, of: int, p: float) -> float:
    """The probability that a binomial number of `of` with share p is at least `count`."""
    if count == 0:
        return 1.0
    steps = np.arange(count, of)
    ways = np.concatenate([[0.0], np.cumsum(np.log(of - steps) - np.log(steps + 1))])
    first = math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)
    reached = np.arange(count, of + 1)
    return float(np.exp(first + ways + reached * math.log(p) + (of - reached) * math.log1p(-p)).sum())
