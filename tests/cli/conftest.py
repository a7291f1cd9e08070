import json
import multiprocessing
import os
import signal
import textwrap
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from struthio.cli import main

# The strongest colour wins; each logit is 40 times the mean of its channel, so every answer has a closed form.
MODELS = """
    import torch
    from torch import nn


    class Colours(nn.Module):
        input_size = (3, 16, 16)
        class_names = ("red, scarlet", "green", "blue, azure", "azure, sky")

        def forward(self, x):
            means = 40 * x.mean((2, 3))
            return torch.cat([means, torch.full_like(means[:, :1], -100.0)], 1)


    class Two(Colours):
        class_names = ("red", "blue")

        def forward(self, x):
            return super().forward(x)[:, [0, 2]]


    class Sure(Colours):
        def forward(self, x):
            return super().forward(x).softmax(1)


    class Weighed(Colours):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return self.scale * super().forward(x)


    class Wary(Colours):
        # Flags what is darker in red than 138 of 255.

        abstains = True

        def forward(self, x):
            logits = super().forward(x)
            dark = 138 / 255 - x[:, 0].mean((1, 2))
            return torch.cat([logits, (logits.amax(1) + 40 * dark)[:, None]], 1)


    def wary():
        return Wary()


    def colours():
        print("a user's own words")
        return Colours()


    def two():
        return Two()


    def sure():
        return Sure()


    def weighed():
        return Weighed()
"""


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)

    def refused(self, *words: str) -> None:
        """A mistake: status 2, one message with these words on standard error, nothing else."""
        assert self.status == 2, self
        assert self.out == "", self.out
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err, self.err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def call(*arguments: object) -> Said:
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(status, said.out, said.err)

    return call


@pytest.fixture
def ended(tmp_path: Path) -> Callable[..., int]:
    """Run a command in a process of its own, which a signal may end; gives its exit status, or minus the signal."""

    def work(arguments: list[str]) -> None:
        torch.set_num_threads(1)  # others were not forked along
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with (tmp_path / "said.txt").open("w") as said, redirect_stdout(said), redirect_stderr(said):
            status = main(arguments)
        os._exit(status)

    def call(*arguments: object, started: Callable[[int], None] = lambda pid: None) -> int:
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=work, args=([str(argument) for argument in arguments],))
        process.start()
        started(process.pid or 0)
        process.join()
        return process.exitcode

    return call


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "models.py"
    path.write_text(textwrap.dedent(MODELS))
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "sunset.png", colour: tuple[int, int, int] = (153, 20, 102), size=(16, 16)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return make


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Ten red rows whose blue is behind by 10, 20, ... 100 levels of 255; the last two are labelled green."""
    x = np.zeros((10, 3, 16, 16), np.uint8)
    x[:, 0] = 150
    x[:, 2] = (150 - 10 * np.arange(1, 11))[:, None, None]
    path = tmp_path / "rows.npz"
    np.savez(path, x=x, y=np.array([0] * 8 + [1] * 2))
    return path
