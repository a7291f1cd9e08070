"""The picture job: what is the same for all pictures, what came of each, and which files are meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from struthio.attacks.base import Attack
from struthio.attacks.pictures import PictureResult
from struthio.attacks.stream import Aim
from struthio.checks import UserError, near_misses
from struthio.cli.attack import Options
from struthio.cli.classes import class_name
from struthio.data.bundled import photographs
from struthio.data.pictures import find_pictures
from struthio.goals import abstains
from struthio.types import Threat

MODEL, THREAT, FOLDER = "zoo:efficientnet-lite0", "linf:4/255", "adversarial"


@dataclass(frozen=True)
class Job:
    """What is the same for all pictures."""

    model: nn.Module
    attack: Attack
    threat: Threat
    aim: Aim
    folder: Path
    options: Options

    @property
    def size(self) -> tuple[int, int, int] | None:
        """What the network takes: channels, height, width."""
        return getattr(self.model, "input_size", None)

    @property
    def names(self) -> Sequence[str] | None:
        """The names of the classes."""
        names = getattr(self.model, "class_names", None)
        return [*names, "abstains"] if names and abstains(self.model) else names

    def top(self, probabilities: Tensor, count: int = 3) -> list[tuple[str, float]]:
        """The strongest classes by name, with their probabilities."""
        top = probabilities.topk(min(count, len(probabilities)))
        return [(class_name(k, self.names), p) for k, p in zip(top.indices.tolist(), top.values.tolist(), strict=True)]


@dataclass(frozen=True)
class Done:
    """One picture that was attacked, and the files that were left."""

    name: str
    result: PictureResult
    adversarial: Path
    figure: Path


@dataclass(frozen=True)
class Problem:
    """One picture that could not be attacked, and why."""

    name: str
    why: str


def sources(specs: Sequence[str]) -> Iterator[Path | Problem]:
    """The picture files that these texts name, in order; a text that names none becomes a problem."""
    for spec in specs:
        try:
            yield from _bundled(spec) if spec.startswith("data:") else find_pictures([spec])
        except UserError as error:
            yield Problem(spec, str(error))


def _bundled(spec: str) -> list[Path]:
    found = photographs()
    if not found:
        raise UserError("no photograph of scikit-image is here. Install: pip install 'struthio[zoo]'.")
    if spec == "data:pictures":
        return list(found.values())
    wanted = Path(spec.removeprefix("data:")).stem
    if wanted not in found:
        known = [path.name for path in found.values()]
        raise UserError(f"there is no photograph {spec!r}. {near_misses(wanted, known, 'photographs')}")
    return [found[wanted]]
