"""Prepares a model once for many gradients: frozen, batch-norm folded, channels-last, and compiled where it pays.

What a prepared model says is checked against the model as given, and whatever is won on it should be confirmed there.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from struthio.models.fold import fold_batch_norm
from struthio.types import Model

TRIAL_ROWS = 16  # of x: enough to time, quick to run
PATIENCE = 1.0  # seconds after which a trial begins no further round
NOT_SLOWER = 1.1  # times as slow as before: up to this it may be noise
PAYS = 0.9  # the share of the time that must be left for a costly step to be kept


class Prepared(nn.Module):
    """A fast copy of a model, beside the model as it was given.

    Attributes:
        original: the model as given, untouched; not a submodule, so nothing done to this module reaches it.
        fast: what is called. It is the original itself where nothing could be won.
        notes: what was done and what it gave, a sentence each.
        tolerance: how far the copy's outputs were allowed to be from the original's, as a share of the largest (of 1,
            if that is less); 0 where the original itself is called.
    """

    def __init__(
        self,
        original: Model,
        fast: Model | None = None,
        *,
        channels_last: bool = False,
        autocast: torch.dtype | None = None,
        notes: Sequence[str] = (),
        tolerance: float = 0.0,
    ) -> None:
        super().__init__()
        self._given = (original,)
        # In a tuple where it is the original, so that .to() or .requires_grad_() on this module cannot change it.
        self._copy = fast if isinstance(fast, nn.Module) and fast is not original else None
        self.channels_last, self.autocast, self.notes = channels_last, autocast, tuple(notes)
        self.tolerance = tolerance

    @property
    def original(self) -> Model:
        """The model as it was given."""
        return self._given[0]

    @property
    def fast(self) -> Model:
        """The model that is called."""
        return self.original if self._copy is None else self._copy

    def forward(self, x: Tensor) -> Tensor:
        """Outputs as the original gives them, to the tolerance of `prepare`, in the dtype of x."""
        if self.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if self.autocast is None:
            return self.fast(x)
        with torch.autocast(x.device.type, dtype=self.autocast):
            return self.fast(x).to(x.dtype)

    def train(self, mode: bool = True) -> Prepared:
        """Changes nothing: a prepared model stays as it was prepared."""
        return self


def prepare(
    model: Model,
    x: Tensor,
    *,
    channels_last: bool | None = None,
    compile: bool = False,
    autocast: bool = False,
    tolerance: float = 1e-4,
) -> Prepared:
    """A fast copy of the model, which itself stays as it is: same mode, same parameters, same random state.

    The copy is in evaluation mode and frozen; batch-norm is folded into convolutions; the memory is channels-last
    where a quick trial on x (forward and input gradient) finds it no slower. Each step is undone where outputs change.
    A model that cannot be copied, or is random, is used as given; the notes say so. Never raises for such models.

    Args:
        model: any callable; only an nn.Module can be made faster.
        x: a batch like those to come [n, ...]; the first 16 rows are used.
        channels_last: True or False decides without a trial, so that two runs compute alike to the last bit.
        compile: also try torch.compile; it takes seconds to minutes, and is kept only where it saves a tenth or more.
        autocast: also try lower precision (float16 on CUDA, bfloat16 elsewhere), kept on the same terms. Needs a
            tolerance of about 0.05, and is 8 to 16 times slower on processors without bfloat16.
        tolerance: the largest difference of outputs allowed, as a share of the largest output (of 1, if that is less).
    """
    if isinstance(model, Prepared):
        return model
    if not isinstance(model, nn.Module):
        return Prepared(model, notes=("used as given: not an nn.Module",))
    if getattr(model, "remote", False):
        return Prepared(model, notes=("used as given: it is asked over a wire",))
    x = x[:TRIAL_ROWS].detach()
    devices = [x.device] if x.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        try:
            plain = _frozen(model)
            reference = _outputs(plain, x)
            again = _outputs(plain if model.training else model, x)
            if _difference(again, reference) > tolerance:
                return Prepared(model, notes=("used as given: two passes differ, so the model is random",))
            best = _improve(model, plain, x, reference, channels_last, compile, autocast, tolerance)
        except Exception as error:  # a model that resists is no reason to stop an attack
            return Prepared(model, notes=(f"used as given: it cannot be copied and run ({_first_line(error)})",))
        best.tolerance = tolerance
        return best


def _improve(
    model: nn.Module,
    plain: nn.Module,
    x: Tensor,
    reference: Tensor,
    channels_last: bool | None,
    compile: bool,
    autocast: bool,
    tolerance: float,
) -> Prepared:
    def agrees(candidate: Prepared) -> bool:
        return _difference(_outputs(candidate, x), reference) <= tolerance

    notes = ["a frozen copy in evaluation mode"]
    if any(module.training for module in model.modules()):
        notes.append("the model itself is in training mode: call model.eval() if that is not meant")
    best = _folded(Prepared(model, plain, notes=notes), x, tolerance, agrees)
    turned = None if channels_last is False else _turned(best, x, agrees)
    before, straight, *rest = _seconds([plain, best, *([turned] if turned else [])], x)
    after = straight
    if turned and (channels_last or rest[0] <= NOT_SLOWER * straight):
        best, after = turned, rest[0]
    error = _difference(_outputs(best, x), reference)
    _note(
        best,
        f"forward and input gradient of {len(x)} rows: {1e3 * before:.1f} ms before, {1e3 * after:.1f} ms now "
        f"({before / after:.2f}x); outputs differ by {error:.1e} of the largest",
    )
    if autocast:
        lower = torch.float16 if x.is_cuda else torch.bfloat16
        trial = Prepared(model, best._copy, channels_last=best.channels_last, autocast=lower, notes=best.notes)
        best = _keep_if_it_pays(best, trial, x, f"autocast to {str(lower)[6:]}", agrees)
    return _compiled(best, x, agrees) if compile else best


def _frozen(model: nn.Module) -> nn.Module:
    twin = copy.deepcopy(model).eval()
    for parameter in twin.parameters():  # one by one, since TorchScript knows no requires_grad_ of a module
        parameter.requires_grad_(False).grad = None
    return twin


def _folded(best: Prepared, x: Tensor, tolerance: float, agrees: Callable[[Prepared], bool]) -> Prepared:
    assert best._copy is not None
    twin = copy.deepcopy(best._copy)
    try:
        count = fold_batch_norm(twin, x[:2], tolerance)
    except Exception as error:
        return _note(best, f"batch-norm not folded ({_first_line(error)})")
    if not count:
        return _note(best, "no batch-norm to fold")
    trial = Prepared(best.original, twin, notes=(*best.notes, f"batch-norm folded into {count} convolutions"))
    return trial if agrees(trial) else _note(best, "batch-norm not folded: outputs would change")


def _turned(best: Prepared, x: Tensor, agrees: Callable[[Prepared], bool]) -> Prepared | None:
    """The same with weights and pictures in channels-last order; None where that means nothing or does not agree."""
    assert best._copy is not None
    if x.ndim != 4 or not any(isinstance(module, nn.Conv2d) for module in best._copy.modules()):
        return None
    twin = copy.deepcopy(best._copy).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trial = Prepared(best.original, twin, channels_last=True, notes=(*best.notes, "channels-last"))
    return trial if agrees(trial) else None


def _compiled(best: Prepared, x: Tensor, agrees: Callable[[Prepared], bool]) -> Prepared:
    try:
        twin = torch.compile(best._copy)  # sizes vary, since rows leave
        assert isinstance(twin, nn.Module)
        trial = Prepared(
            best.original, twin, channels_last=best.channels_last, autocast=best.autocast, notes=best.notes
        )
        return _keep_if_it_pays(best, trial, x, "torch.compile", agrees)
    except Exception as error:
        return _note(best, f"torch.compile failed ({_first_line(error)})")


def _keep_if_it_pays(
    best: Prepared, trial: Prepared, x: Tensor, what: str, agrees: Callable[[Prepared], bool]
) -> Prepared:
    if not agrees(trial):
        return _note(best, f"{what} not kept: outputs differ by more than the tolerance")
    before, after = _seconds((best, trial), x)
    if after > PAYS * before:
        return _note(best, f"{what} not kept: {before / after:.2f}x")
    return _note(trial, f"{what}: {before / after:.2f}x")


def _note(prepared: Prepared, note: str) -> Prepared:
    prepared.notes += (note,)
    return prepared


def _seconds(models: Sequence[Model], x: Tensor, rounds: int = 3) -> list[float]:
    """The least time of a forward and an input gradient for each model, taken in turns so that all share the noise."""
    for model in models:
        _step(model, x)  # the first call also plans, allocates or compiles
    best = [float("inf")] * len(models)
    started = time.perf_counter()
    for _ in range(rounds):
        best = [min(least, _step(model, x)) for least, model in zip(best, models, strict=True)]
        if time.perf_counter() - started > PATIENCE:
            break
    return best


def _step(model: Model, x: Tensor) -> float:
    x = x.detach().requires_grad_()
    _wait(x)
    start = time.perf_counter()
    with torch.enable_grad():
        out = model(x)
        if out.requires_grad:
            torch.autograd.grad(out.logsumexp(-1).sum(), x, allow_unused=True)
    _wait(x)
    return time.perf_counter() - start


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def _outputs(model: Model, x: Tensor) -> Tensor:
    with torch.no_grad():
        out = model(x)
    if not isinstance(out, Tensor):
        raise TypeError(f"it returns a {type(out).__name__}, not a tensor")
    return out


def _difference(out: Tensor, reference: Tensor) -> float:
    """The largest difference, as a share of the largest output or of 1; NaN counts as infinite."""
    if out.shape != reference.shape:
        return float("inf")
    largest = max(1.0, float(reference.abs().max()))
    worst = float((out - reference).abs().max()) / largest
    return worst if worst == worst else float("inf")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:160]
