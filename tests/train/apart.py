"""Trainings in processes of their own, to be killed: `python apart.py FOLDER` prints what came of each as JSON.

They are forked from one process that has loaded everything, so that each starts at once.
"""

import json
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # optimisers load it when they are first made
from torch import nn

from struthio.attacks import PGD
from struthio.threats import Linf
from struthio.train import Evaluation, Plan, fit
from struthio.train.pgd_at import PGDAT

X, Y = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
RECIPE = PGDAT(Linf(0.1), attack=PGD(2, step=0.5, keep="last"))
PLAN = Plan(
    epochs=2, batch=16, optimizer="adam", lr=1e-3, weight_decay=0, shift=1, average="ema",
    evaluation=Evaluation(attack=PGD(2), rows=12),
)  # fmt: skip


def train(folder):
    """What a process does: train, with a checkpoint after every batch, and write the losses and the weights' sum."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    losses = []
    model = nn.Sequential(nn.Conv2d(1, 4, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    trained = fit(model, (X, Y), RECIPE, PLAN, to=folder, save_every=0, tell=lambda now: losses.append(now.loss))
    sums = [value.double().sum().item() for value in trained.model.state_dict().values()]
    if os.environ.get("RANK", "0") == "0":
        (folder / "told.json").write_text(json.dumps({"losses": losses, "sums": sums}))


def fork(folder, **environment):
    """A process that trains; its number."""
    child = os.fork()
    if child:
        return child
    try:
        os.environ.update(environment)
        train(folder)
    except BaseException as error:
        print(type(error).__name__, error, file=sys.stderr)
        os._exit(1)
    os._exit(0)


def pair(folder):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return [fork(folder, RANK=str(rank), LOCAL_RANK=str(rank), **place) for rank in range(2)]


def status(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def written(folder):
    """When the checkpoint was last written."""
    path = folder / "checkpoint.safetensors"
    return path.stat().st_mtime_ns if path.exists() else 0


def kill_after(child, folder, checkpoints, moment):
    """End it without warning, some time after it has written so many checkpoints; whether it was still there."""
    last = written(folder)
    while checkpoints:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        now = written(folder)
        checkpoints -= now != last
        last = now
        time.sleep(0.001)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    return status(child) != 0


def killed(folder, drawn):
    """Killed three times at random moments, then left alone; how often it was killed."""
    folder.mkdir()
    kills = sum(kill_after(fork(folder), folder, drawn.randint(1, 3), drawn.random() * 0.05) for _ in range(3))
    assert status(fork(folder)) == 0
    return kills


def one_of_two_killed(folder, drawn):
    """The second of two is killed; the first notices. Both are started again. What the first ended with."""
    folder.mkdir()
    first, second = pair(folder)
    kill_after(second, folder, 3, drawn.random() * 0.02)
    left = status(first)
    assert [status(child) for child in pair(folder)] == [0, 0]
    return left


def main():
    root, drawn = Path(sys.argv[1]), random.Random(0)
    for name in ("through", "two"):
        (root / name).mkdir()
    assert status(fork(root / "through")) == 0
    kills = killed(root / "killed", drawn)
    assert [status(child) for child in pair(root / "two")] == [0, 0]
    left = one_of_two_killed(root / "two_killed", drawn)
    told = {folder.name: json.loads((folder / "told.json").read_text()) for folder in root.iterdir()}
    print(json.dumps({"kills": kills, "left": left, **told}))


if __name__ == "__main__":
    main()
