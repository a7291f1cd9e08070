"""One change for many inputs: closed forms on linear models, the paper's loop row by row, streams, held-out rows."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pytest
import torch

import struthio as st
from struthio.attacks import Attack
from struthio.attacks.shared_fit import Fitting, Stopped
from struthio.data.digits import digits
from struthio.testing import LinearModel, attack_promises, small_inputs, small_net

FORMS = [st.UniversalDeepFool(passes=2), st.UniversalGradient(passes=2)]


def data(x, size=None):
    """A data set as a function of the batch size, or as a list of batches."""
    ids = torch.arange(len(x))

    def batches(size):
        return [(part, x[part], None) for part in ids.split(size)]

    return batches if size is None else batches(size)


@pytest.fixture(scope="module")
def binary():
    """Scores (0, w x + b) on inputs that are all of class 0."""
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(12, generator=generator, dtype=torch.float64)
    x = torch.randn(40, 3, 2, 2, generator=generator, dtype=torch.float64)
    model = LinearModel(torch.stack((torch.zeros_like(w), w)), torch.zeros(2, dtype=torch.float64))
    return model, x[model(x).argmax(1) == 0], w.reshape(3, 2, 2)


@pytest.mark.parametrize("target", [None, 1])
def test_gradient_finds_the_steepest_change(binary, target):
    model, x, w = binary
    linf, l2 = (
        st.UniversalGradient().fit(model, data(x), ball, target=target).delta
        for ball in (st.Linf(0.3, box=None), st.L2(0.3, box=None))
    )
    torch.testing.assert_close(linf, 0.3 * w.sign())
    torch.testing.assert_close(l2, 0.3 * w / w.norm())


@pytest.mark.parametrize("size", [1, 7, 64])
def test_deepfool_goes_as_far_as_the_farthest_row_needs(binary, size):
    """All walls are parallel, so z is the longest of the rows' own steps, whatever the batch."""
    model, x, w = binary
    with torch.no_grad():
        need = -(model(x)[:, 1] - model(x)[:, 0])
    found = st.UniversalDeepFool(unfooled=0.0, batch_size=size).fit(model, data(x), st.L2(50.0, box=None))
    length = float(found.delta.norm() * w.norm() / need.max())
    assert 1 < length <= 1.0201  # the overshoot is a share of what a row still lacked
    torch.testing.assert_close(found.delta / found.delta.norm(), w / w.norm())
    assert found.rates == (1.0,)


def test_deepfool_row_by_row_is_the_papers_loop():
    """Ten lines of the paper, with the attack DeepFool from x + v, on a network."""
    model, x = small_net(8).eval(), small_inputs(12)
    ball, v = st.L2(0.6, box=None), torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    for row in x.split(1):
        clean = model(row).detach()
        if model(row + v).argmax() == clean.argmax():
            found = st.DeepFool(steps=10)(model, row + v, st.Drift(clean), st.L2(box=None))
            if found.success:
                v = v + found.x_adv - (row + v)
                v = v * min(1.0, 0.6 / float(v.norm()))
    ours = st.UniversalDeepFool(passes=1, batch_size=1).fit(model, data(x), ball)
    assert 0.1 < ours.delta.norm() <= 0.6 + 1e-9
    torch.testing.assert_close(ours.delta, v[0])


def test_clipped_rows_pull_no_more():
    """Two rows on a line pull in opposite ways: beyond the clip only the other one counts."""
    model = LinearModel(torch.tensor([[1.0], [-1.0]]), torch.zeros(2))
    x = torch.tensor([[-30.0], [1.0]])  # losses of the wrong class: about 60 and 0.1 at first
    first = st.UniversalGradient(passes=1, step=1.0, clip=9.0).fit(model, data(x), st.Linf(2.0, box=None))
    assert first.delta.item() == -2.0
    assert st.UniversalGradient(passes=1, step=1.0, clip=9.0).fit(model, data(x), st.Linf(40.0, box=None)).fooling(
        model, data(x)
    ).fooled == (1,)


@pytest.mark.parametrize("form", FORMS)
def test_streams(form):
    """A function, a list of batches and one great batch are the same data; the model sees no more rows than allowed."""
    net, x, most = small_net(8).eval(), small_inputs(50), []

    def model(inputs):
        most.append(len(inputs))
        return net(inputs)

    ball = st.Linf(8 / 255)
    found = [form.fit(model, batches, ball) for batches in (data(x), data(x, form.batch_size), data(x, 50))]
    assert max(most) <= form.batch_size < 50
    for other in found[1:]:
        assert torch.equal(found[0].delta, other.delta)
    assert found[0].forwards == sum(most) / 3
    assert found[0].fooling(model, data(x)).rate > 0.1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("target", [None, 2])
def test_threats_bind(form, target):
    """Radius, limits, a mask for all rows and the levels of a picture."""
    model, x = small_net(8).eval(), small_inputs(10)
    mask = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    for ball in (st.Linf(0.1), st.L2(1.0)):
        for threat in (ball, st.Masked(ball, mask), st.Levels(ball)):
            found = form.fit(model, data(x), threat, target=target)
            assert 0.01 < threat.size(found.delta[None] * 0, found.delta[None]) <= ball.eps + 1e-6
            assert threat.allows(x, found.apply(x)).all()
    assert not found.delta.requires_grad


def test_fooling_counts():
    model = LinearModel(torch.eye(3), torch.zeros(3))
    x = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.9, 0, 0.8]])
    threat = st.Linf(0.5)
    delta = torch.tensor([-0.5, -0.5, 0.5])  # 2 gains 1 on the others, within [0, 1] less
    drift = st.Universal(delta, threat).fooling(model, data(x, 3))
    assert (drift.fooled, drift.rows) == ((0, 1), (3, 1))
    assert drift.rate == 0.25
    assert drift.rates == (0.0, 1.0)
    toward = st.Universal(delta, threat, target=2).fooling(model, data(x, 3))
    assert (toward.fooled, toward.rows) == ((0, 1), (2, 1))  # the third row is of class 2 already


def test_seen_is_not_held_out_and_noise_is_no_attack():
    """Real digits at Linf 0.3, 64 to fit and 200 others to judge; the paper's rate is of changed classes."""
    model, ball = st.load("zoo:digits-cnn"), st.Linf(0.3)
    fit, held = data(digits("train")[0][:64]), data(digits("test")[0][:200])
    noise = st.Universal(ball.sample(torch.zeros(1, 1, 28, 28), st.RowGenerator.seeded(0, torch.arange(1)))[0], ball)
    slope = st.UniversalGradient(passes=10).fit(model, fit, ball)
    walls = st.UniversalDeepFool(passes=1).fit(model, fit, ball)
    toward = st.UniversalGradient(passes=10).fit(model, fit, ball, target=3)
    assert noise.fooling(model, held).rate < 0.1
    assert walls.fooling(model, held).rate > 0.4
    assert slope.fooling(model, held).rate > 0.8
    assert toward.fooling(model, held).rate > 0.8
    assert slope.fooling(st.load("zoo:digits-robust"), held).rate < 0.3


def test_what_fitting_reports():
    seen, model, x = [], small_net(8).eval(), small_inputs(20)
    form = st.UniversalGradient(passes=3)
    found = form.fit(model, data(x), st.Linf(0.1), progress=lambda done, rate: seen.append((done, rate)))
    assert seen == list(enumerate(found.rates, 1))
    assert (found.forwards, found.backwards) == (3 * 2 * 20, 3 * 20)
    assert 0 < found.seconds < 60
    stops = st.UniversalDeepFool(unfooled=0.95).fit(model, data(x), st.Linf(0.3))
    assert len(stops.rates) == 1


def test_the_best_pass_is_kept():
    """DeepFool swings: what is judged after each pass is kept only where it fools more than before."""
    model, ways = LinearModel(torch.eye(2), torch.zeros(2)), [0.15, 0.45, 0.15]
    x = torch.tensor([[0.6, 0.4], [0.7, 0.3], [1.0, 0.0]])  # fooled from 0.1, 0.2 and 0.5 on

    def update(task, z, own):
        return torch.tensor([[-way, way] for way in ways[:1]]), ways.pop(0) * torch.zeros(3)

    found = Fitting(model, data(x), st.Linf(0.5), None, 3, 0).run(update, passes=3, enough=0.9, progress=None)
    assert found.rates == pytest.approx((1 / 3, 2 / 3, 1 / 3))
    assert found.delta.tolist() == pytest.approx([-0.45, 0.45])
    assert (found.forwards, found.backwards) == (27, 0)


@pytest.mark.parametrize("enough", [None, 0.9])
def test_ctrl_c_hands_over_what_was_found(enough):
    """In the second pass: DeepFool's best pass, or where the slope had come to; before the first batch nothing."""
    x, ways = torch.tensor([[0.6, 0.4], [0.7, 0.3], [1.0, 0.0]]), [0.1, 0.15, 0.2, 0.25]

    def update(task, z, own):
        if not ways:
            raise KeyboardInterrupt
        return torch.tensor([[-way, way] for way in [ways.pop(0)]]), torch.ones(len(task.x))

    rows = Fitting(LinearModel(torch.eye(2), torch.zeros(2)), data(x, 1), st.Linf(0.5), None, 1, 0)
    with pytest.raises(Stopped) as stopped:
        rows.run(update, passes=3, enough=enough, progress=None)
    found = stopped.value.found
    assert found.delta.tolist() == pytest.approx([-0.25, 0.25] if enough is None else [-0.2, 0.2])
    assert found.rates == pytest.approx((1.0 if enough is None else 1 / 3,))
    assert found.forwards == (4 if enough is None else 4 + 6)
    with pytest.raises(KeyboardInterrupt) as nothing:
        rows.run(update, passes=3, enough=enough, progress=None)
    assert not isinstance(nothing.value, Stopped)


@pytest.mark.parametrize("form", FORMS)
def test_leaves_no_trace(form):
    model, x = small_net(8).eval(), small_inputs(8)
    weights, state = [(part.clone(), part.grad) for part in model.parameters()], torch.random.get_rng_state()
    form.fit(model, data(x), st.Linf(0.1))
    assert torch.equal(state, torch.random.get_rng_state())
    for part, (before, grad) in zip(model.parameters(), weights, strict=True):
        assert torch.equal(part, before)
        assert part.grad is grad


@pytest.mark.parametrize("form", FORMS)
def test_refused(form):
    model, x = small_net(8).eval(), small_inputs(6)
    mask = torch.ones(6, 3, 8, 8, dtype=torch.bool)
    fit = partial(form.fit, model)
    for words, call in {
        "only once": lambda: fit(iter(data(x, 2)), st.Linf(0.1)),
        "no rows": lambda: fit([], st.Linf(0.1)),
        "the rows' numbers": lambda: fit([(x, torch.arange(6))], st.Linf(0.1)),
        "one shape is needed": lambda: fit(data(x, 6) + data(small_inputs(3, 5), 3), st.Linf(0.1)),
        "one radius": lambda: fit(data(x), st.Linf(torch.full((6,), 0.1))),
        "one mask": lambda: fit(data(x), st.Masked(st.Linf(0.1), mask, each=True)),
        "defined in linf, l2": lambda: fit(data(x), st.L1(1.0)),
        "radius is infinite": lambda: fit(data(x), st.L2()),
        "knows classes": lambda: fit(data(x), st.Linf(0.1), target=17),
        "move the normalisation": lambda: fit(data(x * 3), st.Linf(0.1)),
        "training mode": lambda: form.fit(torch.nn.Sequential(torch.nn.Dropout(), model), data(x), st.Linf(0.1)),
        "inputs of one shape": lambda: st.Universal(torch.zeros(3, 5, 5), st.Linf(0.1)).apply(x),
        "passes": lambda: type(form)(passes=0),
        "batch_size": lambda: type(form)(batch_size=0),
    }.items():
        with pytest.raises(st.UserError, match=words):
            call()
    with pytest.raises(st.UserError, match="unfooled"):
        st.UniversalDeepFool(unfooled=1.0)
    with pytest.raises(st.UserError, match="clip"):
        st.UniversalGradient(clip=0.0)


@dataclass(frozen=True)
class Stripes(Attack):
    """A universal change in the shape of whatever comes."""

    paper: ClassVar[str] = st.Universal.paper
    access: ClassVar[str] = "labels"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    def search(self, model, x, goal, threat, generator):
        delta = torch.arange(x[0].numel(), dtype=x.dtype).remainder(3).sub(1).reshape(x.shape[1:])
        return st.Universal(delta, threat).search(model, x, goal, threat, generator)


# The model is made to break at the second question, and this attack asks but one.
PROMISES = [promise for promise in attack_promises() if promise.__name__ != "leaves_no_trace_when_the_model_breaks"]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_as_an_attack(promise):
    promise(Stripes())


def test_as_an_attack_on_digits():
    """Fitted once, it is judged as every attack is, with another goal and another radius than it was fitted for."""
    model, (x, y) = st.load("zoo:digits-cnn"), digits("test")
    found = st.UniversalGradient(passes=3).fit(model, data(x[:128]), st.Linf(0.3))
    result = found(model, x[200:300], st.Untargeted(y[200:300]), st.Linf(0.3))
    assert result.success.float().mean() > 0.6
    assert result.forwards.eq(1).all()
    small = found(model, x[200:300], st.Untargeted(y[200:300]), st.Linf(0.1))
    assert small.size.max() == pytest.approx(0.1)
    assert small.success.sum() < result.success.sum()
    assert math.isclose(float(found.delta.abs().max()), 0.3, rel_tol=1e-6)
