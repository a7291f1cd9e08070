"""Where the models of the board are made: rows to train on, and networks that are trained once and then kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from struthio.attacks import PGD
from struthio.checks import UserError
from struthio.data import load_data
from struthio.data.digits import digits
from struthio.data.files import replacing
from struthio.describe import describe
from struthio.detectors.base import Detector
from struthio.detectors.guarded import Guarded
from struthio.goals import Untargeted
from struthio.models.weights import load_weights
from struthio.put_back import seeded
from struthio.train.fit import fit
from struthio.train.plain import Plain
from struthio.train.plan import Plan
from struthio.train.recipe import Recipe
from struthio.types import Threat

CIFAR_ROWS = 5000  # to train on: the dearest part of a board
FITTED = 1_000  # rows from which a detector learns, and as many to draw its line
SHORT = Plan(  # enough for a small network to be right on clean digits, in seconds
    epochs=4, batch=50, optimizer="adam", lr=3e-3, weight_decay=0.0, precision="float32", evaluation=None
)  # fmt: skip


@dataclass(frozen=True)
class Workshop:
    """Rows, and trained networks by name, kept in a folder as safetensors.

    Attributes:
        folder: where the weights are kept; it exists.
        seed: of all that is trained.
        cifar: CIFAR-10 as text for `load_data`, with its parts `:train` and `:test`; None where there is none.
        say: told what is being trained.
    """

    folder: Path
    seed: int = 0
    cifar: str | None = None
    say: Callable[[str], None] = lambda what: None

    def rows(self, data: str = "digits", split: str = "train") -> tuple[Tensor, Tensor]:
        """Inputs [n, ...] and classes [n]: 4,000 digits or 5,000 small photographs to train on, 1,000 to be tried on.

        Raises UserError where there is no CIFAR-10.
        """
        if data == "digits":
            return digits(split)
        if self.cifar is None:
            raise UserError("this row needs CIFAR-10: name its folder with --data.")
        return _photographs(f"{self.cifar}:{split}", CIFAR_ROWS if split == "train" else 1000)

    def network(
        self,
        name: str,
        build: Callable[[], nn.Module],
        recipe: Recipe | None = None,
        data: str = "digits",
        **plan: Any,
    ) -> nn.Module:
        """The classifier of this name, trained at the first time and read from the folder afterwards.

        Args:
            name: of the file.
            build: makes it without what is learnt.
            recipe: its loss; None: plain training.
            data: "digits" or "cifar".
            **plan: what is to be other than in `SHORT`.
        """
        recipe, short = recipe or Plain(), replace(SHORT, seed=self.seed, **plan)
        rows = data if data == "digits" else f"{data} {self.cifar}"

        def train(model: nn.Module) -> nn.Module:
            return fit(model, self.rows(data), recipe, short).model

        return self.kept(name, build, train, f"{describe(recipe)} {describe(short)} {rows}")

    def kept(
        self, name: str, build: Callable[[], nn.Module], train: Callable[[nn.Module], nn.Module], how: str = ""
    ) -> nn.Module:
        """What is built and trained at the first time, and afterwards read from the folder.

        Args:
            name: of the file.
            build: makes it without what is learnt; torch's random numbers are seeded for it.
            train: gives it trained.
            how: in words; where these, the seed or the shape are others, it is trained again.
        """
        with seeded(self.seed):
            model = build()
        path = self._file(name, model, how)
        if path.exists():
            return load_weights(model, path).eval()
        self.say(f"training {name}")
        model = train(model).eval()
        with replacing(path) as beside:
            save_file({key: value.contiguous() for key, value in model.state_dict().items()}, beside)
        return model

    def guarded(self, name: str, detector: Detector, model: nn.Module, threat: Threat) -> Guarded:
        """The model behind a detector that learnt from digits and, where it has to, from what PGD makes of them.

        One clean row in twenty is flagged. The detector is fitted at the first time and kept.
        """
        path = self._file(name, detector, f"{model} {describe(threat)}")
        if path.exists():
            return Guarded(model, detector.load(path, model)).eval()
        self.say(f"fitting {name}")
        x, y = self.rows()
        some, others = slice(0, FITTED), slice(FITTED, 2 * FITTED)
        x_adv = None
        if detector.supervised:
            x_adv = PGD(steps=20)(model, x[some], Untargeted(y[some]), threat, self.seed).x_adv
        detector.fit(model, x[some], y[some], x_adv, self.seed)
        detector.calibrate(x[others])
        with replacing(path) as beside:
            detector.save(beside)
        return Guarded(model, detector).eval()

    def _file(self, name: str, made: nn.Module, how: str) -> Path:
        """Where what was made so, and taught in this way, is kept."""
        what = f"{name} {made} {how} {self.seed}"
        return self.folder / f"{name}-{hashlib.sha256(what.encode()).hexdigest()[:8]}.safetensors"


@lru_cache(maxsize=2)
def _photographs(spec: str, most: int) -> tuple[Tensor, Tensor]:
    """Rows spread evenly over a data set, since folders of pictures are sorted by class."""
    samples = load_data(spec, (3, 32, 32))
    if samples.y is None:
        raise UserError(f"{spec} has no labels; a folder of CIFAR-10 is needed.")
    ids = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:most]
    return samples.x[ids], samples.y[ids]
