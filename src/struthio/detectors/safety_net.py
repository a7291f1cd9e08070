"""SafetyNet: the pattern of a layer's activations, each rounded to one of four levels, judged by an RBF-SVM."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from struthio import checks
from struthio.detectors.activations import activations, hidden_layers, in_parts
from struthio.detectors.base import Detector, Fitted
from struthio.detectors.neighbours import squared_distances

FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)  # of 1 / (values * variance), among which cross-validation chooses


class Codes(Fitted):
    """Each activation rounded to one of the levels 0, 1/3, 2/3, 1: above 0, and above two more thresholds a unit.

    The thresholds, a third and two thirds of the way through what a unit says on clean rows where it is above 0, are a
    choice: the paper names none. A step has no gradient; `stand_in` is the sum of three sigmoids.

    Args:
        temperature: the width of the sigmoids, in the units of each unit's upper threshold.
    """

    levels: Tensor

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        checks.positive(temperature, "temperature")
        self.temperature = temperature

    def fit(self, seen: Tensor) -> None:
        """Set the thresholds from activations of clean rows [n, units]."""
        above = torch.where(seen > 0, seen, torch.nan)
        thirds = torch.tensor([1 / 3, 2 / 3]).to(seen)
        upper = above.nanquantile(thirds, dim=0).nan_to_num(nan=float(seen.abs().mean()))
        self.keep(levels=torch.cat([torch.zeros_like(upper[:1]), upper]))

    def forward(self, seen: Tensor) -> Tensor:
        """The codes, [n, units]."""
        return torch.stack([(seen > level).to(seen) for level in self.levels]).mean(0)

    def stand_in(self, seen: Tensor) -> Tensor:
        """The codes with soft steps."""
        width = self.temperature * self.levels[2].clamp(min=1e-6)
        return torch.stack([((seen - level) / width).sigmoid() for level in self.levels]).mean(0)


class SafetyNet(Detector):
    """An RBF-SVM on quantised activations of a late layer; an adversary has to flip the class and keep the pattern.

    The machine is scikit-learn's, its decision function is written in torch. Its codes have no gradient, which is the
    defence; they declare a soft stand-in, by which an adaptive attack goes through them.

    Args:
        layers: the one layer; () takes the last hidden layer.
        gamma: of the kernel exp(-gamma |a - b|^2); None chooses by cross-validation in three parts.
        c: the price of a row on the wrong side.
        rows: at most so many of each side are learnt from, since the machine keeps many of them.
        temperature: of the codes' stand-in.
    """

    paper: ClassVar[str] = "Lu, Issaranon, Forsyth, 2017, arXiv 1704.00103"
    supervised = True
    support: Tensor
    weights: Tensor
    offset: Tensor
    width: Tensor

    def __init__(
        self,
        layers: tuple[str, ...] = (),
        gamma: float | None = None,
        c: float = 1.0,
        rows: int = 1000,
        temperature: float = 0.2,
    ) -> None:
        super().__init__(layers)
        if gamma is not None:
            checks.positive(gamma, "gamma")
        checks.positive(c, "c")
        checks.count(rows, "rows")
        if len(layers) > 1:
            raise checks.UserError(f"{len(layers)} layers were named; the detector looks at one.")
        self.gamma, self.c, self.rows = gamma, c, rows
        self.codes = Codes(temperature)

    def build(self, model: nn.Module) -> None:
        """Keep the model, and choose the layer where none was named."""
        super().build(model)
        self.layers = self.layers or hidden_layers(model, self.blank(model))[-1:]

    def see(self, x: Tensor) -> Tensor:
        """The layer's activations, flattened."""
        return activations(self.inside, self.layers, x)[1][0].flatten(1)

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        clean, adversarial = (
            in_parts(self.see, side[torch.randperm(len(side))[: self.rows].to(side.device)]) for side in (x, x_adv)
        )
        self.codes.fit(clean)
        codes = self.codes(torch.cat([clean, adversarial])).double().cpu().numpy()
        machine = self._machine(codes, np.arange(len(codes)) >= len(clean))
        learnt = {"support": machine.support_vectors_, "weights": machine.dual_coef_[0]}
        learnt |= {"offset": machine.intercept_[0], "width": machine._gamma}
        self.keep(**{name: torch.as_tensor(value).to(x) for name, value in learnt.items()})

    def _machine(self, codes: np.ndarray, adversarial: np.ndarray) -> Any:
        svm = checks.need("sklearn.svm", "sklearn")
        seed = int(torch.randint(2**31, ()))
        about = {"C": self.c, "class_weight": "balanced", "random_state": seed}
        usual = 1 / (codes.shape[1] * max(codes.var(), 1e-12))
        if self.gamma is not None:
            return svm.SVC(gamma=self.gamma, **about).fit(codes, adversarial)
        choose = checks.need("sklearn.model_selection", "sklearn")
        folds = choose.StratifiedKFold(3, shuffle=True, random_state=seed)
        search = choose.GridSearchCV(svm.SVC(**about), {"gamma": [f * usual for f in FACTORS]}, cv=folds)
        return search.fit(codes, adversarial).best_estimator_

    def score(self, x: Tensor) -> Tensor:
        """The machine's decision, [n]; above 0 on the adversarial side."""
        codes = self.codes(self.see(x))
        return (-self.width * squared_distances(codes, self.support)).exp() @ self.weights + self.offset
