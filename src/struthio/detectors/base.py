"""What every detector shares: a score a row, a threshold for a false-positive rate, and a state that can be stored."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.data.files import replacing
from struthio.describe import describe
from struthio.put_back import in_mode, seeded

PART = 500  # rows judged at a time where the line is drawn


class Fitted(nn.Module):
    """A module whose buffers are made by `fit`, or by a stored state, and not before."""

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        for name in [key.removeprefix(prefix) for key in state if key.startswith(prefix)]:
            if "." not in name and name not in self._parameters:
                self.register_buffer(name, torch.empty_like(state[prefix + name]))
        super()._load_from_state_dict(state, prefix, *others)

    def keep(self, **values: Tensor) -> None:
        """Register what was learnt, by name."""
        for name, value in values.items():
            self.register_buffer(name, value.detach().clone(memory_format=torch.contiguous_format))

    def extra_repr(self) -> str:
        """The options, so that what was made otherwise prints otherwise; those that are modules print themselves."""
        kept = vars(self)
        options = (name for name in inspect.signature(type(self)).parameters if name in kept)
        return ", ".join(f"{name}={describe(kept[name])}" for name in options)


class Detector(Fitted):
    """Judges inputs: `fit` learns what is usual, `score` says how unusual a row is, `calibrate` where to draw the line.

    To add a detector: subclass, write `_fit` and `score`, name the paper, and add one line to `registry.py`. A detector
    that looks into the model keeps it as its part `model` and leaves it as it is.

    Attributes:
        paper: authors, year, arXiv number.
        random: whether the same input may get another score; attacks then average over draws (EOT).
        stand_in: what the gradient is taken of where the detector's own is useless (BPDA); a part of a detector may
            declare its own instead.
        supervised: whether `fit` needs adversarial rows.
        looks: whether it looks into the model, or at the input alone.
        threshold: rows with a higher score are flagged; infinite before `calibrate`.
        spread: the standard deviation of the score on clean rows, the unit of `excess`.
        model: what it looks into.
        layers: whose activations it looks at; chosen in `fit` where none were named.
        shape: of a row, known from `fit` or `load` on.
    """

    paper: ClassVar[str]
    looks: ClassVar[bool] = True
    supervised: bool = False
    random: bool = False
    stand_in: Any = None
    threshold: Tensor
    spread: Tensor

    def __init__(self, layers: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.layers, self.shape = tuple(layers), cast(tuple[int, ...], ())
        self.model: nn.Module | None = None
        self.register_buffer("threshold", torch.tensor(math.inf, dtype=torch.float64))
        self.register_buffer("spread", torch.tensor(1.0, dtype=torch.float64))

    def fit(
        self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor | None = None, generator: int | torch.Generator = 0
    ) -> Self:
        """Learn from clean rows, and from adversarial ones where the detector is taught by example.

        Args:
            model: what is to be guarded, in evaluation mode; neither it nor torch's random state is changed.
            x: clean rows [n, ...].
            y: their classes, int64 [n].
            x_adv: adversarial rows [m, ...], m as large as wanted.
            generator: a seed, or a generator, of all random numbers.

        Raises:
            UserError: for rows that cannot be meant, or where adversarial rows are needed and missing.
        """
        checks.mode(model)
        checks.inputs(x, None, None, "")
        checks.classes(y, len(x), "y")
        if x_adv is None and self.supervised:
            raise UserError(
                f"{type(self).__name__} learns from adversarial rows too. Make some with an attack on the model, "
                "PGD()(model, x, Untargeted(y), threat).x_adv, and give them: fit(model, x, y, x_adv)."
            )
        if x_adv is not None and (x_adv.shape[1:] != x.shape[1:] or not len(x_adv)):
            raise UserError(f"x_adv has shape {tuple(x_adv.shape)}, but clean rows have {tuple(x.shape)}.")
        with self._or_unfitted(), seeded(_seed(generator)):
            self.shape = tuple(x.shape[1:])
            self.build(model)
            for part in self._own():
                part.to(x)
            self._fit(model, x.detach(), y, x[:0] if x_adv is None else x_adv.detach())
        return self

    def build(self, model: nn.Module) -> None:
        """Make ready for `fit` or `load`: keep the model, and build what has the shape of its rows."""
        self.model = model if self.looks else None

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        """Learn; x_adv has no rows where none were given."""
        raise NotImplementedError

    @property
    def inside(self) -> nn.Module:
        """The model that it looks into. Raises UserError where it was neither fitted nor loaded."""
        if self.model is None:
            raise UserError(f"{type(self).__name__} knows no model yet. Call fit(model, x, y) or load(path, model).")
        return self.model

    def score(self, x: Tensor) -> Tensor:
        """How suspicious each row is, [n]: higher is more suspicious. Differentiable where it can be."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The score, [n]."""
        return self.score(x)

    @torch.no_grad()
    def calibrate(self, x: Tensor, fpr: float = 0.05, generator: int | torch.Generator = 0) -> Self:
        """Set the threshold so that a clean row is flagged with a probability of at most `fpr`.

        It is the score of rank ceil((n + 1)(1 - fpr)) of n clean rows, which keeps the promise for every distribution,
        in the mean over what these rows may be (Vovk, Gammerman, Shafer, 2005, "conformal prediction").

        Args:
            x: clean rows [n, ...] that `fit` has not seen, n at least 1 / fpr - 1.
            fpr: the share of clean rows that may be flagged, above 0 and below 1.
            generator: a seed, or a generator, of what a random detector draws; torch's random state stays as it was.

        Raises:
            UserError: for such a share, too few rows, scores that are not finite, or a detector that was not fitted.
        """
        checks.real(fpr, "fpr")
        if not 0 < fpr < 1:
            raise UserError(f"fpr is {fpr:g}; a share above 0 and below 1 is needed.")
        checks.mode(self)
        with seeded(_seed(generator)):
            self.excess(x[:1])  # refuses what was not fitted
            scores = torch.cat([self.score(part).double() for part in x.split(PART)])
        rank = math.ceil((len(scores) + 1) * (1 - fpr) - 1e-9)
        if rank > len(scores):
            raise UserError(
                f"{len(scores)} rows cannot show a false-positive rate of {fpr:g}; at least "
                f"{math.ceil(1 / fpr - 1)} are needed."
            )
        if not bool(scores.isfinite().all()):
            raise UserError(
                f"{type(self).__name__} gives {int((~scores.isfinite()).sum())} scores that are not finite."
            )
        self.threshold.fill_(scores.sort().values[rank - 1])
        wide = float(scores.std())
        self.spread.fill_(wide if wide > 0 else 1.0)
        return self

    def excess(self, x: Tensor) -> Tensor:
        """How far above the threshold each row is, [n], in standard deviations of the score on clean rows."""
        if not self.shape:
            raise UserError(f"{type(self).__name__} was not fitted. Call fit(model, x, y) first, or load(path, model).")
        score = self.score(x)
        return (score - self.threshold.to(score)) / self.spread.to(score)

    @torch.no_grad()
    def flags(self, x: Tensor) -> Tensor:
        """Which rows are flagged, bool [n]."""
        return self.excess(x) > 0

    def blank(self, model: nn.Module) -> Tensor:
        """One row of zeros in the shape of the rows and in the type of the model's parameters."""
        like = next(model.parameters(), torch.zeros(1))
        return torch.zeros(1, *self.shape, dtype=like.dtype, device=like.device)

    def _own(self) -> list[nn.Module]:
        """Its own parts, without the model."""
        return [part for name, part in self.named_children() if name != "model"]

    def of_model(self, name: str) -> bool:
        """Whether a value of the state, by its name, is the model's, which is not stored."""
        return name.startswith("model.")

    def save(self, path: Path | str) -> None:
        """Store what was learnt, the threshold too, and not the model, as a safetensors file.

        Raises UserError where it cannot be written.
        """
        from safetensors.torch import save_file

        state = {name: value.contiguous() for name, value in self.state_dict().items() if not self.of_model(name)}
        with replacing(path) as beside:
            save_file(state, beside, metadata=self.about())

    def load(self, path: Path | str, model: nn.Module) -> Self:
        """Take a stored state: this detector, made with the same options, then judges as the stored one did.

        Args:
            path: from `save`.
            model: the model that it was fitted for.

        Raises:
            UserError: where the file cannot be read, or holds another detector, or one made with other options.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                state, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read as what a detector stored ({error}).") from error
        with self._or_unfitted():
            self.become(about, model, str(path))
            try:
                missing, unknown = self.load_state_dict(state, strict=False)
            except RuntimeError as error:
                raise UserError(f"{path} does not fit; was it made with other options? {error}") from None
            lost = [*(name for name in missing if not self.of_model(name)), *unknown]
            if lost:
                raise UserError(f"{path} does not fit in {', '.join(lost[:3])}; was it made with other options?")
        return self

    def about(self) -> dict[str, str]:
        """What its state does not say: which detector it is, at which layers it looks, and the shape of a row."""
        return {"detector": type(self).__name__, "layers": json.dumps(self.layers), "shape": json.dumps(self.shape)}

    def become(self, about: Mapping[str, str], model: nn.Module, source: str) -> None:
        """Make ready for the state that `about` was stored with. Raises UserError where it is another detector's."""
        if about.get("detector") != type(self).__name__:
            raise UserError(f"{source} holds the state of {about.get('detector')}, not of {type(self).__name__}.")
        self.layers, self.shape = tuple(json.loads(about["layers"])), tuple(json.loads(about["shape"]))
        if self.shape:
            with seeded(0), in_mode(model, training=False):
                self.build(model)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        learnt = [
            value.dtype
            for name, value in own.items()
            if "." in name and not name.endswith(("threshold", "spread")) and not self.of_model(name)
        ]
        for dtype in [dtype for dtype in learnt if dtype.is_floating_point][:1]:
            for part in self._own():
                part.to(dtype)
        super()._load_from_state_dict(state, prefix, *others)

    @contextmanager
    def _or_unfitted(self) -> Iterator[None]:
        """What fails within leaves a detector that says that it was not fitted."""
        try:
            yield
        except BaseException:
            self.shape = ()
            raise


def _seed(generator: int | torch.Generator) -> int:
    """A seed as it is, or one that the generator draws."""
    return generator if isinstance(generator, int) else int(torch.randint(2**62, (), generator=generator))
