"""Ctrl-C and SIGTERM stop training between two steps, so that what is kept is whole."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AT_ONCE = 1.0  # second


class Stop:
    """Whether somebody asked to stop. A second Ctrl-C does not wait, unless it comes at once: a launcher repeats it."""

    def __init__(self) -> None:
        self.heard = math.inf
        self.waits = True

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self.heard < math.inf

    def hear(self, number: int, frame: FrameType | None) -> None:
        """A signal came."""
        if not self.waits or time.monotonic() > self.heard + AT_ONCE:
            raise KeyboardInterrupt
        self.heard = min(self.heard, time.monotonic())

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, nothing is changed that would have to be whole: a signal ends it with KeyboardInterrupt."""
        if self.asked:
            raise KeyboardInterrupt
        self.waits = False
        try:
            yield
        finally:
            self.waits = True


@contextmanager
def hearing() -> Iterator[Stop]:
    """Within, the signals only set `asked`; in a thread other than the main one nothing is heard."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.hear) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
