"""Files that are whole or absent, and what is said of those that are not."""

import os
import sys

import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.train.checkpoint import fitting, read, sweep, write
from struthio.train.judge import judge

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(3),
    "none": torch.zeros(0, 2),
    "c": torch.ones(2).bfloat16(),
}


def test_what_was_written_is_read(tmp_path):
    write(tmp_path / "it", TENSORS, {"some": [1, None, 0.1 + 0.2]})
    tensors, facts = read(tmp_path / "it")
    assert facts["some"] == [1, None, 0.1 + 0.2]
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(tensors[name], value)
        assert tensors[name].dtype == value.dtype


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "it"
    write(path, TENSORS, {})
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(UserError, match="no whole checkpoint .* torn"):
        read(path)
    path.write_bytes(whole[:-3] + b"xyz")
    with pytest.raises(UserError, match="checksum"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="torn"):
        read(path)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and its like are Linux's")
def test_a_full_disk_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "it"
    write(path, {"a": torch.zeros(1)}, {})

    def full(handle):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        write(path, TENSORS, {})
    monkeypatch.undo()
    assert list(read(path)[0]) == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == ["it"]


def test_what_a_kill_left_is_swept(tmp_path):
    (tmp_path / ".checkpoint.safetensors.123.part").write_text("half")
    (tmp_path / "mine.part").write_text("whole")
    sweep(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.part"]


def test_another_architecture_is_named():
    state = nn.Linear(3, 2).state_dict()
    with pytest.raises(UserError, match=r"another architecture: of 'weight', it has \(2, 3\) and the model \(2, 4\)"):
        fitting(nn.Linear(4, 2), state, "the checkpoint")
    with pytest.raises(UserError, match="of 'bias', it has .* and the model none"):
        fitting(nn.Linear(3, 2, bias=False), state, "the checkpoint")


def test_the_judge_counts():
    from struthio.attacks import PGD
    from struthio.data import Samples
    from struthio.threats import Linf

    net = nn.Linear(2, 2, bias=False).eval()
    nn.init.eye_(net.weight)
    x = torch.tensor([[0.9, 0.1], [0.55, 0.45], [0.2, 0.8], [0.6, 0.4]])
    data = Samples(x, torch.tensor([0, 0, 1, 1]))
    found = judge(net, data, torch.arange(4), Linf(0.1), PGD(steps=3), batch=3)
    assert (found.judged, found.clean, found.robust, found.one_step) == (4, 0.75, 0.5, 0.5)
    assert judge(net, data, torch.tensor([0, 2]), None, PGD()).robust is None
