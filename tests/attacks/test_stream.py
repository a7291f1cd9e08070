"""A whole data set, batch by batch: the same answers whatever the batch size, and when memory runs out."""

import pytest
import torch

import struthio as st
from struthio import UserError
from struthio.attacks.stream import aim, out_of_memory, stream
from struthio.result import joined
from struthio.testing import small_inputs, small_net

NET, X = small_net(8), small_inputs(11, 8)
LABELS = NET(X).argmax(1)
LABELS = torch.where(torch.arange(11) % 4 == 0, (LABELS + 1) % 5, LABELS)  # rows 0, 4 and 8 are wrong from the start


def batches(size):
    for ids in torch.arange(11).split(size):
        yield 1000 + ids, X[ids], LABELS[ids]


def run(attack=None, model=NET, size=128, spec="untargeted", seed=0, **options):
    attack = attack or st.PGD(steps=4)
    return list(stream(attack, model, batches, aim(spec), st.Linf(4 / 255), seed=seed, batch_size=size, **options))


@pytest.mark.parametrize("size", [1, 3, 8])
def test_batch_size_changes_nothing(size):
    whole, parts = run()[0].result, joined([part.result for part in run(size=size)])
    torch.testing.assert_close(parts.x_adv, whole.x_adv, atol=1e-9, rtol=0)
    for name in ("success", "forwards", "backwards"):
        assert torch.equal(getattr(parts, name), getattr(whole, name))


def test_seeds_change_something():
    assert not torch.equal(run()[0].result.x_adv, run(seed=1)[0].result.x_adv)


def test_rows_that_need_no_attack_get_none():
    (whole,) = run()
    assert (~whole.correct).nonzero().flatten().tolist() == [0, 4, 8]
    wrong = ~whole.correct
    assert whole.result.success[wrong].all()
    assert whole.result.size[wrong].max() == 0
    assert torch.equal(whole.result.x_adv[wrong], X[wrong])
    assert set(whole.result.forwards[wrong].tolist()) == {1}
    assert set(whole.result.backwards[wrong].tolist()) == {0}
    assert whole.ids.tolist() == list(range(1000, 1011))


def test_what_is_told_of_a_row_is_true():
    (whole,) = run()
    assert torch.equal(whole.predicted, NET(X).argmax(1))
    assert torch.equal(whole.predicted_adv, NET(whole.result.x_adv).argmax(1))
    assert torch.equal(whole.result.success, whole.predicted_adv != LABELS)
    attacked = whole.correct
    alone = st.PGD(steps=4)(
        NET,
        X[attacked],
        st.Untargeted(LABELS[attacked]),
        st.Linf(4 / 255),
        st.RowGenerator.seeded(0, 1000 + attacked.nonzero().flatten()),
    )
    torch.testing.assert_close(whole.result.x_adv[attacked], alone.x_adv, atol=1e-9, rtol=0)
    assert torch.equal(whole.result.forwards[attacked], alone.forwards + 1)


def test_when_memory_runs_out_the_batch_is_halved():
    sizes = []

    def small(x):
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return NET(x)

    parts = run(model=small, size=11)
    assert [len(part.ids) for part in parts] == [3, 3, 3, 2]
    torch.testing.assert_close(joined([part.result for part in parts]).x_adv, run()[0].result.x_adv, atol=1e-9, rtol=0)


def test_other_errors_are_not_swallowed():
    def broken(x):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        run(model=broken)


def test_one_row_that_does_not_fit_is_an_error():
    def hungry(x):
        raise MemoryError

    with pytest.raises(MemoryError):
        run(model=hungry)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_words_for_memory(error, said):
    assert out_of_memory(error) == said


OUTPUTS = torch.tensor([[3.0, 2.0, 1.0], [0.0, 1.0, 2.0]])


@pytest.mark.parametrize(
    ("spec", "targets"), [("least-likely", [2, 0]), ("second", [1, 1]), ("next", [1, 0]), ("to:2", [2, 2])]
)
def test_aims(spec, targets):
    goal = aim(spec)(OUTPUTS, torch.tensor([0, 2]))
    assert isinstance(goal, st.Targeted)
    assert goal.targets.tolist() == targets


def test_aims_by_name():
    assert aim("to:iguana", {"iguana": 39}.__getitem__)(OUTPUTS, torch.tensor([0, 2])).targets.tolist() == [39, 39]
    assert isinstance(aim("untargeted")(OUTPUTS, torch.tensor([0, 2])), st.Untargeted)
    with pytest.raises(UserError, match="no class names"):
        aim("to:iguana")
    for wrong in ("targetted", "to:", ""):
        with pytest.raises(UserError, match="is no goal"):
            aim(wrong)
