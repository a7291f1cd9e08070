"""What detectors compute, beside closed forms and references of a few lines."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio import UserError
from struthio.detectors.activations import activations, hidden_layers
from struthio.detectors.consistency import Consistency
from struthio.detectors.dropout import DropoutUncertainty, uncertainty
from struthio.detectors.kernel_density import KernelDensity
from struthio.detectors.lid import LID
from struthio.detectors.logistic import Logistic
from struthio.detectors.mahalanobis import Mahalanobis
from struthio.detectors.n_plus_one import widened
from struthio.detectors.neighbours import local_dimension
from struthio.detectors.pca import PCATail
from struthio.detectors.safety_net import Codes, SafetyNet
from struthio.detectors.squeezing import SqueezingGap
from struthio.testing import linear_model, small_inputs, small_net
from struthio.testing.traces import changed, snapshot


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flat_net():
    """Its hidden layer is the input where that is above 0."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.ReLU(), nn.Linear(6, 3)).double()


def test_the_tail_of_axes_that_are_known():
    x = double(4000, 5) * torch.tensor([5.0, 4.0, 3.0, 0.2, 0.1], dtype=torch.float64)
    detector = PCATail(first=3).fit(linear_model(5), x, torch.zeros(4000, dtype=torch.int64))
    row = torch.tensor([[9.0, 9.0, 9.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0, 1.0]], dtype=torch.float64)
    score = detector.score(row)
    assert float(score[0]) < 0.01
    assert float(score[1]) == pytest.approx((9 + 1) / 2, rel=0.05)
    white = PCATail(first=3, whiten=True, floor=1e-9).fit(linear_model(5), x, torch.zeros(4000, dtype=torch.int64))
    assert float(white.score(x).mean()) == pytest.approx(1, rel=0.05)


def test_the_distance_of_mahalanobis():
    x, y = double(400, 6).abs(), torch.arange(400) % 2
    x[y == 1] += 1
    detector = Mahalanobis(ridge=1e-9).fit(flat_net(), x, y, x[:50] + 2)
    means = torch.stack([x[y == c].mean(0) for c in (0, 1)])
    apart = x - means[y]
    inverse = torch.linalg.inv(apart.T @ apart / 400)
    gaps = x[:9, None] - means
    expected = torch.einsum("ncd,de,nce->nc", gaps, inverse, gaps).amin(1)
    torch.testing.assert_close(detector.distances(x[:9])[:, 0], expected, rtol=1e-5, atol=1e-8)


def test_the_step_of_mahalanobis_comes_nearer():
    x, y = double(400, 6).abs(), torch.arange(400) % 2
    still, moved = (Mahalanobis(magnitude=one).fit(flat_net(), x, y, x[:50] + 2) for one in (0.0, 0.01))
    assert (moved.distances(x[:50]) < still.distances(x[:50])).double().mean() > 0.9


def test_the_local_dimension_of_planes():
    """Points of a plane in ten dimensions have a local dimension of two."""
    for dimension in (1, 2, 5):
        cloud = torch.zeros(4000, 10, dtype=torch.float64)
        cloud[:, :dimension] = torch.rand(4000, dimension, generator=torch.Generator().manual_seed(1)).double()
        found = local_dimension(cloud[:200], cloud[200:], 50).median()
        assert float(found) == pytest.approx(dimension, rel=0.15)


def test_the_local_dimension_beside_a_reference():
    a, reference = double(3, 4), double(40, 4, seed=1)
    expected = []
    for row in a:
        r = (reference - row).norm(dim=1).sort().values[:7]
        expected.append(-1 / (r / r[-1]).log().mean())
    torch.testing.assert_close(local_dimension(a, reference, 7), torch.stack(expected))


def test_the_density_of_kernels():
    net, x, y = flat_net(), double(60, 6).abs(), torch.arange(60) % 3
    detector = KernelDensity(bandwidth=1.5, passes=0).fit(net, x, y, x[:20] + 2)
    row = double(4, 6, seed=2).abs()
    for one, sign in zip(row, detector.signs(row)[:, 0], strict=True):
        same = x[y == net(one[None]).argmax()]
        density = (-(same - one).square().sum(1) / 1.5**2).exp().mean()
        assert float(sign) == pytest.approx(-float(density.log()), rel=1e-9)


def test_a_row_that_was_learnt_does_not_count_for_itself():
    net, x, y = flat_net(), double(60, 6).abs(), torch.arange(60) % 3
    detector = KernelDensity(bandwidth=0.5, passes=0).fit(net, x, y, x[:20] + 2)
    right = net(x).argmax(1) == y
    assert (detector.signs(x, own=True)[right] > detector.signs(x)[right]).all()


def test_uncertainty_is_the_variance_of_the_softmax():
    logits = [torch.tensor([[50.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 50.0], [0.0, 0.0]])]
    answers = iter([torch.cat(logits)])
    found = uncertainty(lambda views: next(answers), [torch.zeros(2, 1), torch.zeros(2, 1)])
    torch.testing.assert_close(found, torch.tensor([0.5, 0.0]))


def test_the_models_own_dropout_is_switched_on_and_nothing_else():
    net, x = small_net(), small_inputs(4)
    detector = DropoutUncertainty(passes=5).fit(net, x, torch.zeros(4, dtype=torch.int64))
    before = snapshot(net, x)
    torch.manual_seed(1)
    score = detector.score(x)
    assert bool((score > 0).any())
    assert [name for name in changed(before, snapshot(net, x)) if "random state" not in name] == []
    assert detector.layers == ()


def test_a_view_that_changes_nothing_leaves_no_doubt():
    net, x = small_net(), small_inputs(4)
    detector = Consistency(lambda rows: rows, passes=3).fit(net, x, torch.zeros(4, dtype=torch.int64))
    assert bool((detector.score(x).abs() < 1e-12).all())


def test_the_largest_gap_counts():
    net, x = small_net(), small_inputs(4)
    detector = SqueezingGap([lambda rows: rows, lambda rows: rows * 0]).fit(net, x, torch.zeros(4, dtype=torch.int64))
    blank = net(torch.zeros_like(x)).softmax(1)
    torch.testing.assert_close(detector.score(x), (net(x).softmax(1) - blank).abs().sum(1))


def test_the_machine_in_torch_is_scikit_learns():
    net, x, y = flat_net(), double(80, 6), torch.arange(80) % 3
    detector = SafetyNet(gamma=0.3, c=2.0).fit(net, x, y, x[:40] + 1)
    from sklearn.svm import SVC

    codes = detector.codes(torch.cat([x, x[:40] + 1]).relu())
    truth = torch.cat([torch.zeros(80), torch.ones(40)]).numpy()
    machine = SVC(C=2.0, gamma=0.3, class_weight="balanced").fit(codes.numpy(), truth)
    found = detector.score(double(30, 6, seed=3))
    expected = torch.from_numpy(machine.decision_function(detector.codes(double(30, 6, seed=3).relu()).numpy()))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)  # the machine depends on the order of its rows


def test_codes_and_their_stand_in():
    codes = Codes(temperature=1e-4)
    codes.fit(torch.tensor([[-1.0], [1.0], [2.0], [3.0], [4.0]], dtype=torch.float64))
    seen = torch.tensor([[-5.0], [1.5], [2.5], [3.5]], dtype=torch.float64)
    torch.testing.assert_close(codes(seen)[:, 0], torch.tensor([0, 1 / 3, 2 / 3, 1], dtype=torch.float64))
    torch.testing.assert_close(codes.stand_in(seen), codes(seen))


def test_logistic_regression_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    clean, adversarial = double(90, 3), double(30, 3, seed=1) + torch.tensor([1.0, 0.0, 2.0])
    ours = Logistic(ridge=1e-2)
    ours.fit(clean, adversarial)
    both = torch.cat([clean, adversarial])
    standard = ((both - both.mean(0)) / both.std(0)).numpy()
    truth = torch.cat([torch.zeros(90), torch.ones(30)]).numpy()
    theirs = LogisticRegression(C=1 / (1e-2 * 120), class_weight="balanced", tol=1e-10).fit(standard, truth)
    expected = torch.from_numpy(theirs.decision_function(standard))
    torch.testing.assert_close(ours(both), expected, rtol=1e-4, atol=1e-4)


def test_a_widened_network_says_the_same_of_the_old_classes():
    net, x = small_net(), small_inputs(4)
    wide = widened(net, x[:1])
    torch.testing.assert_close(wide(x)[:, :-1], net(x))
    assert (wide(x)[:, -1] == 0).all()
    other = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Tanh()).double()  # whose last layer is not linear
    torch.testing.assert_close(widened(other, x[:1])(x)[:, :-1], other(x))


def test_activations_are_taken_without_a_trace():
    net, x = small_net(), small_inputs(4)
    before = snapshot(net, x)
    outputs, (bent, last) = activations(net, ["2", "7"], x)
    assert changed(before, snapshot(net, x)) == []
    torch.testing.assert_close(last, outputs)
    torch.testing.assert_close(bent, net[:3](x))
    assert hidden_layers(net, x) == ("2", "6")
    with pytest.raises(UserError, match="no layer 'features'"):
        activations(net, ["features"], x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LID(neighbours=20, reference=10), "20 neighbours"),
        (lambda: DropoutUncertainty(rate=1.0), "rate is 1"),
        (lambda: SqueezingGap([]), "no squeezer"),
        (lambda: SafetyNet(layers=("a", "b")), "2 layers"),
        (lambda: PCATail(floor=0), "floor is 0"),
    ],
)
def test_options_that_cannot_be_meant(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_rows_that_do_not_fit():
    x, y = small_inputs(4), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(UserError, match="300 are set apart"):
        LID().fit(small_net(), x, y, x)
    with pytest.raises(UserError, match="learns from adversarial rows too"):
        LID().fit(small_net(), x, y)
    with pytest.raises(UserError, match="clean rows have"):
        LID().fit(small_net(), x, y, x[:, :1])
    with pytest.raises(UserError, match="components 0 to 191"):
        PCATail(first=192).fit(small_net(), x, y)
    with pytest.raises(UserError, match="training mode"):
        PCATail().fit(small_net().train(), x, y)
    with pytest.raises(st.UserError, match="was not fitted"):
        PCATail().calibrate(x)
