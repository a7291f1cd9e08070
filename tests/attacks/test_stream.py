"""A job over a data set: the same answers whatever the batch size, and memory that runs out only halves it."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio.attacks.stream import aim, stream
from struthio.result import joined


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 4)).double().eval()


@pytest.fixture
def data(model):
    x = torch.rand(11, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    y[3] = (y[3] + 1) % 4  # one row is classified wrongly from the start
    return x, y


def batches(x, y):
    def of(size):
        for rows in torch.arange(len(x)).split(size):
            yield rows, x[rows], y[rows]

    return of


def run(model, x, y, size, goal="untargeted"):
    found = list(stream(st.PGD(steps=5), model, batches(x, y), aim(goal), st.Linf(0.05), batch_size=size))
    return found, joined([part.result for part in found])


def test_no_batch_size_changes_an_answer(model, data):
    _, whole = run(model, *data, size=11)
    for size in (1, 4):
        _, parts = run(model, *data, size=size)
        torch.testing.assert_close(parts.x_adv, whole.x_adv, rtol=0, atol=1e-12)
        assert parts.success.equal(whole.success)
        assert parts.forwards.equal(whole.forwards)


def test_rows_already_wrong_are_not_attacked(model, data):
    found, result = run(model, *data, size=4)
    correct = torch.cat([part.correct for part in found])
    assert correct.tolist() == [row != 3 for row in range(11)]
    assert result.success[3]
    assert float(result.size[3]) == 0
    assert (int(result.forwards[3]), int(result.backwards[3])) == (1, 0)


def test_memory_that_runs_out_halves_the_batch(model, data):
    class Small(nn.Module):
        """Has no memory for more than three rows."""

        def forward(self, x):
            if len(x) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return model(x)

    found, result = run(Small(), *data, size=11)
    assert [len(part.ids) for part in found] == [3, 3, 3, 2]
    assert torch.cat([part.ids for part in found]).tolist() == list(range(11))
    torch.testing.assert_close(result.x_adv, run(model, *data, size=11)[1].x_adv, rtol=0, atol=1e-12)


def test_an_error_that_is_not_memory_is_not_swallowed(model, data):
    def broken(x):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run(broken, *data, size=4)


def test_goals_from_text(model, data):
    x, y = data
    outputs = model(x)
    goal = {text: aim(text)(outputs, y) for text in ("untargeted", "least-likely", "second", "next", "to:2")}
    assert goal["untargeted"].labels.equal(y)
    assert goal["least-likely"].targets.equal(outputs.argmin(1))
    assert goal["second"].targets.equal(outputs.argsort(1, descending=True)[:, 1])
    assert goal["next"].targets.equal((y + 1) % 4)
    assert goal["to:2"].targets.tolist() == [2] * 11
    assert aim("to:two", {"two": 2}.__getitem__)(outputs, y).targets.tolist() == [2] * 11


@pytest.mark.parametrize("text", ["to:", "sideways", "to"])
def test_a_goal_that_means_nothing_is_refused(text):
    with pytest.raises(st.UserError, match="is no goal"):
        aim(text)
