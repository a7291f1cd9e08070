"""A model seen at work: how often an attack has asked it, and a Ctrl-C that lets the attack end with what it has."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from struthio.attacks.base import Attack
from struthio.attacks.combine import Repeat
from struthio.cli import terminal
from struthio.goals import abstains
from struthio.gradients import Autograd
from struthio.meter import Ended

ONE_A_STEP = {  # attacks that ask once a step, and a few times more
    "ALMA", "APGD", "BIM", "DDN", "DIFGSM", "FMN", "MIFGSM", "NIFGSM", "PDGD", "PDPGD", "PGD", "SigmaZero", "TIFGSM",
}  # fmt: skip


def questions(attack: Attack) -> int | None:
    """About how often a row is asked about at most, where the options of the attack say so."""
    if isinstance(attack, Repeat):
        once = questions(attack.attack)
        return None if once is None else attack.times * once
    options: dict[str, Any] = vars(attack)
    queries: int | None = options.get("queries")
    if queries is not None or type(attack).__name__ not in ONE_A_STEP:
        return queries
    steps = options["steps"] if options["gradient"] == Autograd() else None
    return None if steps is None else (steps + 1) * options.get("restarts", 1)


class Watched(nn.Module):
    """A model that tells of every question, and answers no more when it was stopped.

    It is one that may stop answering (`remote`), so that attacks keep the best of what they have asked about.
    """

    remote = True

    def __init__(self, model: nn.Module, tell: Callable[[int], None]) -> None:
        super().__init__()
        self.model, self.tell, self.stopped = model, tell, False
        self.training, self.abstains = model.training, abstains(model)

    def forward(self, x: Tensor) -> Tensor:
        """The model's outputs. Raises Ended when it was stopped."""
        if self.stopped:
            raise Ended("stopped")
        self.tell(len(x))
        outputs: Tensor = self.model(x)
        return outputs


@contextmanager
def watched(model: nn.Module, attack: Attack, name: str) -> Iterator[Watched]:
    """The model, with a bar of the questions put to it; the first Ctrl-C stops it, the second ends all at once."""
    with terminal.bar("questions") as bar:
        most = questions(attack)
        task = bar.add_task(name, total=most, so_far="")

        def tell(inputs: int) -> None:
            if not bar.finished or most is None:  # the judge's question, and its like, come on top
                bar.advance(task, inputs)

        seen = Watched(model, tell)
        with _first_interrupt(lambda: setattr(seen, "stopped", True)):
            yield seen


@contextmanager
def _first_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """In place of raising KeyboardInterrupt, the first Ctrl-C does this."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def first(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        act()

    if before is signal.default_int_handler:  # a shell's background job ignores Ctrl-C, and shall
        signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
