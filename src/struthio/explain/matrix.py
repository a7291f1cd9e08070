"""The transfer matrix: counts of errors, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from struthio.checks import UserError
from struthio.explain.transfer_text import summary, text
from struthio.shares import interval


@dataclass(frozen=True)
class TransferMatrix:
    """Counts of errors; two matrices of the same models and attack add up to that of all their rows.

    Attributes:
        sources: the models that were attacked, by name.
        targets: the models that judged, by name.
        wrong: how many of the inputs made against a source the target gets wrong, int64 [sources, targets].
        of: how many count there, int64 [sources, targets].
        noise_wrong: how many inputs a random change of the same size makes the target get wrong, int64 [targets].
        noise_of: how many count there, int64 [targets].
        right: how many clean inputs the target classifies rightly, int64 [targets].
        rows: how many inputs there were.
        over: which inputs count: "both", "all" or "target".
        attack: the attack, as text.
        threat: the threat, as text.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    wrong: Tensor
    of: Tensor
    noise_wrong: Tensor
    noise_of: Tensor
    right: Tensor
    rows: int
    over: str
    attack: str
    threat: str

    @property
    def rates(self) -> Tensor:
        """The share of errors, float64 [sources, targets]; NaN where no input counts."""
        return self.wrong.double() / self.of

    @property
    def noise(self) -> Tensor:
        """The share of errors under random changes, float64 [targets]."""
        return self.noise_wrong.double() / self.noise_of

    @property
    def intervals(self) -> Tensor:
        """The 95 % intervals of the rates (Clopper, Pearson, 1934), float64 [sources, targets, 2]."""
        pairs = zip(self.wrong.flatten().tolist(), self.of.flatten().tolist(), strict=True)
        ends = [interval(wrong, of) if of else (0.0, 1.0) for wrong, of in pairs]
        return torch.tensor(ends, dtype=torch.float64).reshape(*self.wrong.shape, 2)

    @property
    def own(self) -> Tensor:
        """Where source and target are the same model, bool [sources, targets]."""
        return torch.tensor([[source == target for target in self.targets] for source in self.sources])

    @property
    def transfer(self) -> float:
        """The mean rate where source and target differ."""
        return float(self.rates[~self.own].nanmean())

    def one_way(self) -> list[tuple[str, str, float, bool]]:
        """Pairs of models by how differently they fool each other, the most unequal first.

        Each is (a, b, rate from a to b less rate from b to a, whether the two 95 % intervals lie apart).
        """
        rates, ends, found = self.rates, self.intervals, []
        for a, b in combinations([name for name in self.sources if name in self.targets], 2):
            there = self.sources.index(a), self.targets.index(b)
            back = self.sources.index(b), self.targets.index(a)
            if not self.of[there] or not self.of[back]:
                continue
            more, less = (there, back) if rates[there] >= rates[back] else (back, there)
            names = (a, b) if more == there else (b, a)
            found.append((*names, float(rates[more] - rates[less]), bool(ends[more][0] > ends[less][1])))
        return sorted(found, key=lambda pair: -pair[2])

    @property
    def asymmetry(self) -> float:
        """The mean difference between the two directions of a pair, in [0, 1]; NaN where there is no pair."""
        pairs = self.one_way()
        return sum(pair[2] for pair in pairs) / len(pairs) if pairs else float("nan")

    def __add__(self, other: TransferMatrix) -> TransferMatrix:
        what = ("sources", "targets", "over", "attack", "threat")
        if any(getattr(self, name) != getattr(other, name) for name in what):
            raise UserError(
                "two transfer matrices add up only where models, attack, threat and rows counted are alike."
            )
        counts = ("wrong", "of", "noise_wrong", "noise_of", "right", "rows")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in counts})

    def __str__(self) -> str:
        return text(self)

    def summary(self) -> dict[str, Any]:
        """All figures by name, for JSON."""
        return summary(self)

    def draw(self, path: str | Path, format: str = "png") -> None:
        """Save the matrix as a picture."""
        from struthio.explain.transfer_figure import draw

        draw(self, Path(path), format)
