"""What is known of transfer between models, found again on 5,000 digits. Each test names its source."""

import functools

import pytest
import torch
from torch import nn

import struthio as st
from struthio.attacks.substitute import small_network
from struthio.data.digits import digits
from struthio.models import SklearnScores

EPS = 0.3
PICTURES = torch.Size((1, 28, 28))


@functools.cache
def data():
    x, y = digits("test")
    return (x[:150], x[150:650], y[150:650])


@functools.cache
def estimator(name):
    sklearn = pytest.importorskip("sklearn")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeClassifier

    assert sklearn
    made = {
        "forest": RandomForestClassifier(100, random_state=0),
        "logistic": LogisticRegression(max_iter=1000, C=0.1),
        "svm": LinearSVC(C=0.01),
        "tree": DecisionTreeClassifier(random_state=0),
        "neighbours": KNeighborsClassifier(5),
    }[name]
    x, y = digits("train")
    return made.fit(x.flatten(1).numpy(), y.numpy())


def linear(name):
    """A linear classifier of scikit-learn as a network."""
    fitted, net = estimator(name), nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    net[1].weight.data = torch.tensor(fitted.coef_, dtype=torch.float32)
    net[1].bias.data = torch.tensor(fitted.intercept_, dtype=torch.float32)
    return net.eval()


def trained(make, epochs, seed):
    x, y = digits("train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make()
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                optimizer.step()
    return net.eval()


@functools.cache
def oracle(name):
    return st.load("zoo:digits-cnn") if name == "cnn" else SklearnScores(estimator(name), "labels")


@functools.cache
def stolen(name, most=None, seed=0):
    """From 150 digits and the oracle's labels: the copy's accuracy, the share of FGSM's changes passed on, the cost."""
    start, x, y = data()
    with torch.no_grad():
        right = oracle(name)(x).argmax(1) == y
    found = st.Substitute(most=most).train(oracle(name), start, seed)
    attack = st.Via(st.FGSM(), found.model)
    passed = attack(oracle(name), x[right], st.Untargeted(y[right]), st.Linf(EPS)).rate
    with torch.no_grad():
        return float((found.model(x).argmax(1) == y).float().mean()), passed, found.queries


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "forest"])
def test_a_substitute_of_4800_labels_passes_on_what_fools_it(name):
    """Papernot et al., 2017: 84.24 % of FGSM's changes at 0.3 fool the oracle; a substitute is right on 81 %."""
    accuracy, passed, queries = stolen(name)
    assert queries == 4800
    assert accuracy >= 0.7
    assert abs(passed - 0.84) <= 0.15


class Near(nn.Module):
    """The training digits as neighbours with a slope: a digit weighs exp(-squared distance / 4) for its class."""

    def __init__(self):
        super().__init__()
        x, y = digits("train")
        self.x, self.classes = x.flatten(1), nn.functional.one_hot(y, 10).float()

    def forward(self, x):
        weights = (-torch.cdist(x.flatten(1), self.x).square() / 4).softmax(1)
        return (weights @ self.classes).clamp(min=1e-30).log()


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True,
    reason="missed for nearest neighbours: 0.27 passed on, by a copy right on 0.85. On training digits copies of other "
    "shapes (linear, perceptron), steps (0.3), signs and periods pass on 0.22 to 0.31, MI-FGSM in place of FGSM 0.34",
)
def test_a_substitute_of_nearest_neighbours():
    """Papernot et al., 2017: the same against a model without gradient; FGSM at 0.3 leaves most neighbours near."""
    assert abs(stolen("neighbours")[1] - 0.84) <= 0.15


@pytest.mark.slow
def test_what_can_be_asked_of_a_substitute_of_nearest_neighbours():
    """Papernot et al., 2016: FGSM on a network fools 8 % of nearest neighbours, and on neighbours themselves 42 %.

    Here their own slope passes on 58 %, so that no copy of them can come to the 84 % of a network.
    """
    _, x, y = data()
    with torch.no_grad():
        right = oracle("neighbours")(x).argmax(1) == y
    attack = st.Via(st.FGSM(), Near().eval())
    own = attack(oracle("neighbours"), x[right], st.Untargeted(y[right]), st.Linf(EPS)).rate
    assert 0.4 <= own < 0.84 - 0.15
    assert 2 * 0.0836 <= stolen("neighbours")[1] <= own


@pytest.mark.slow
def test_a_reservoir_saves_labels():
    """Papernot et al., 2016: 400 new inputs a round, after three doublings, save labels and pass on about as much."""
    _, passed, queries = stolen("cnn", most=400)
    assert queries == 150 * 2**3 + 400 * 2
    assert abs(passed - 0.84) <= 0.15


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True,
    reason="missed: 0.77 with the reservoir, 0.88 without; with another seed 0.85 and 0.87. On training digits 0.83 "
    "and 0.90; smaller batches (0.83) and up to 3 more rounds (0.83 to 0.85) do not close it",
)
def test_a_reservoir_costs_less_than_five_points():
    """Papernot et al., 2016: the reservoir's copy comes within 5 points of that of 4,800 labels."""
    assert stolen("cnn", most=400)[1] >= stolen("cnn")[1] - 0.05


@functools.cache
def models():
    """Papernot, McDaniel, Goodfellow, 2016: five techniques, and three convolutional networks."""
    flat = functools.partial(small_network, torch.Size((784,)), 10)
    pictures = functools.partial(small_network, PICTURES, 10)
    return {
        "perceptron": trained(flat, 10, 0),
        "logistic": linear("logistic"),
        "svm": linear("svm"),
        "cnn 1": trained(pictures, 5, 1),
        "cnn 2": trained(pictures, 5, 2),
        "digits-cnn": st.load("zoo:digits-cnn"),
        "tree": SklearnScores(estimator("tree")),
        "neighbours": SklearnScores(estimator("neighbours")),
    }


@functools.cache
def matrix(eps):
    """Who fools whom with one step of this size."""
    _, x, y = data()
    sources = [name for name in models() if name not in ("tree", "neighbours")]
    return st.transfer_matrix(models(), x[:300], y[:300], st.FGSM(), st.Linf(eps), sources=sources)


def cell(eps, source, target):
    found = matrix(eps)
    return float(found.rates[found.sources.index(source), found.targets.index(target)])


@pytest.mark.slow
def test_linear_models_fool_each_other():
    """Papernot et al., 2016: logistic regression to SVM 91 %; here over 60 % both ways at 0.3."""
    assert cell(EPS, "logistic", "svm") > 0.6
    assert cell(EPS, "svm", "logistic") > 0.6


@pytest.mark.slow
def test_models_without_gradient_are_fooled_too():
    """Papernot et al., 2016: trees fall most, neighbours least; both more than to chance."""
    found = matrix(EPS)
    for target, least in (("tree", 0.8), ("neighbours", 0.1)):
        rates = found.rates[:, found.targets.index(target)]
        assert rates.min() > max(least, float(found.noise[found.targets.index(target)]))
    near = found.targets.index("neighbours")
    assert found.rates[:, near].min() > 5 * found.noise[near]


@pytest.mark.slow
def test_transfer_is_far_beyond_chance():
    """At 0.1, but for the tree, which any change fools: each row ten times a random change on the same targets."""
    found = matrix(0.1)
    kept = torch.tensor([name != "tree" for name in found.targets])
    rows = [(rates[~own & kept], found.noise[~own & kept]) for rates, own in zip(found.rates, found.own, strict=True)]
    times = [float(rates.mean() / noise.mean()) for rates, noise in rows]
    assert min(times) > 10, times


@pytest.mark.slow
def test_at_the_largest_radius_ten_times_chance_is_more_than_all():
    """At 0.3 random signs alone fool the perceptron (0.4) and the tree (0.7); what can be asked of a row is less."""
    found = matrix(EPS)
    chance = found.noise.mean()
    assert 10 * chance > 1
    for rates, own in zip(found.rates, found.own, strict=True):
        assert rates[~own].mean() > 2.5 * chance
