"""The board end to end on a few digits: what falls, what stands, what is kept, and what goes on after a kill."""

import json
import shutil

import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.gauntlet import ROWS, Known, Row, gauntlet, rows_named
from struthio.gauntlet.board import _naive
from struthio.gauntlet.outcome import as_it_should

COUNT = 4
TWO = ("none", "jpeg")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two rows without an interruption, and their folder."""
    folder = tmp_path_factory.mktemp("board")
    return gauntlet(TWO, count=COUNT, folder=folder), folder


def test_what_comes_out(whole):
    """JPEG lets no gradient through, so that a naive attack cannot begin and leaves what is right."""
    board, _ = whole
    assert list(board.outcomes) == list(TWO)
    none, jpeg = (board.outcomes[name] for name in TWO)
    assert (none.of, none.clean, none.naive, none.audited, none.doubts) == (COUNT, COUNT, 0, 0, ())
    assert (jpeg.of, jpeg.clean, jpeg.naive, jpeg.audited) == (COUNT, COUNT, COUNT, 0)
    assert {"no-gradient", "gradient-free-part"} <= set(jpeg.doubts)
    assert any("Stand-ins" in what for what in jpeg.repairs)
    assert all(as_it_should(ROWS[name], found) for name, found in board.outcomes.items())


def test_a_killed_run_goes_on(whole, tmp_path):
    """Killed in the second row: the first is kept as it was, the second comes out as if nothing had happened."""
    board, finished = whole
    shutil.copytree(finished / "rows/none", tmp_path / "rows/none")
    told = []

    def stop(row, part, done):
        if row == "jpeg" and part == "margin":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gauntlet(TWO, count=COUNT, folder=tmp_path, tell=stop)
    assert json.loads((tmp_path / "rows/none/outcome.json").read_text())["outcome"]["clean"] == COUNT
    assert not (tmp_path / "rows/jpeg/outcome.json").exists()
    again = gauntlet(TWO, count=COUNT, folder=tmp_path, tell=lambda row, part, done: told.append(row))
    assert "none" not in told
    for name in TWO:
        one, other = ({**b.outcomes[name].figures(), "seconds": 0} for b in (board, again))
        assert one == other


def test_a_finished_board_costs_nothing(whole):
    board, folder = whole
    told = []
    again = gauntlet(TWO, count=COUNT, folder=folder, tell=lambda *parts: told.append(parts))
    assert again.outcomes == board.outcomes
    assert told == []


def test_the_folder_of_another_board_is_refused(whole):
    _, folder = whole
    with pytest.raises(UserError, match=r"count 4.*given.*count 7.*-o"):
        gauntlet(TWO, count=7, folder=folder)


def test_unknown_row():
    with pytest.raises(UserError, match=r"no row 'bitdepth'.*bit-depth"):
        rows_named(["bitdepth"])


def test_rows_without_their_data_are_left_out(tmp_path):
    board = gauntlet(["cifar-none"], count=COUNT, folder=tmp_path)
    assert board.outcomes == {}
    assert "--data" in board.left_out["cifar-none"]


def test_a_network_behind_a_detector(tmp_path):
    """An input that is flagged has not fallen; the naive attack does not know that it is judged."""
    found = gauntlet(["pca-tail"], count=COUNT, folder=tmp_path).outcomes["pca-tail"]
    assert found.naive == found.clean >= COUNT - 1
    assert found.audited < COUNT / 2


def test_every_row_says_what_it_has_to():
    assert len([row for row in ROWS.values() if row.data == "digits"]) >= 25
    assert {name for name, row in ROWS.items() if row.sound} == {"pgd-at", "trades", "cifar-pgd-at"}
    for name, row in ROWS.items():
        assert row.what, name
        assert row.known.where, name
        assert not (row.sound and row.doubts), name
        assert row.known.left is None or row.known.source, name


def test_only_a_missing_gradient_keeps_the_naive_attack_from_beginning():
    """A part that takes no such tensor counts as no gradient; running out of memory, or a mistake, does not."""

    class Leaving(nn.Module):
        def forward(self, x):
            return torch.from_numpy(x.numpy()) @ torch.eye(4)

    class Full(nn.Module):
        def forward(self, x):
            if x.requires_grad:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return x @ torch.eye(4)

    x, y = torch.eye(4), torch.arange(4)
    row = Row("nothing", lambda shop: nn.Identity(), "", Known(None, "", ""), threat="linf:0.6")
    assert _naive(row, nn.Identity(), x, y, 1, 0).all()
    assert not _naive(row, Leaving(), x, y, 1, 0).any()
    with pytest.raises(RuntimeError, match="allocate"):
        _naive(row, Full(), x, y, 1, 0)
