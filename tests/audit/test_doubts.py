"""Doubts: none about sound models, each about the model that deserves it, and the measures behind them exactly."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio.audit.doubts import KINDS, Doubt, examine
from struthio.audit.doubts.answers import saturated
from struthio.audit.doubts.parts import blind_parts
from struthio.audit.doubts.probe import probe, soft_margin
from struthio.audit.doubts.slopes import guide
from struthio.audit.repair import adapt
from struthio.rows import RowGenerator
from struthio.testing import linear_model, small_inputs
from tests.audit import masked


def names(model, x, y, threat):
    return {doubt.name for doubt in examine(model, x, y, threat)}


def small_net(act):
    """Untrained, with batch-norm and dropout in evaluation mode; labels are what it says."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), act(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), act(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(64, 10),
    ).eval()  # fmt: skip
    x = torch.rand(16, 3, 16, 16)
    return net, x, net(x).argmax(1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.mix = nn.Conv2d(3, 16, 4, 4), nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x):
        tokens = self.norm(self.embed(x).flatten(2).transpose(1, 2))
        return self.head((tokens + self.mix(tokens, tokens, tokens)[0]).mean(1))


@pytest.mark.parametrize(
    ("name", "threat"),
    [
        ("digits-cnn", st.Linf(0.3)),
        ("digits-cnn", st.L2(2)),
        ("digits-robust", st.Linf(0.3)),
        ("digits-robust", st.Linf(0.01)),
        ("digits-robust", st.L1(10)),
        ("digits-robust", st.L0(10)),
        ("digits-robust", st.L2()),
    ],
    ids=str,
)
def test_no_doubt_about_the_zoo(name, threat):
    assert examine(st.load(f"zoo:{name}"), *masked.digits(), threat) == ()


def test_a_sound_model_is_asked_little():
    (x, y), asked = masked.digits(), []
    assert examine(lambda x: asked.append(len(x)) or masked.plain()(x), x, y, st.Linf(0.3)) == ()
    assert sum(asked) < 15 * len(x)


@pytest.mark.parametrize("act", [nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Hardswish])
@pytest.mark.parametrize("eps", [0.5 / 255, 8 / 255])
def test_no_doubt_about_usual_layers(act, eps):
    model, x, y = small_net(act)
    assert examine(model, x, y, st.Linf(eps)) == ()


def test_no_doubt_about_attention():
    torch.manual_seed(0)
    model, x = Attention().eval(), torch.rand(16, 3, 16, 16)
    assert examine(model, x, model(x).argmax(1), st.Linf(8 / 255)) == ()


def test_training_mode_is_found_and_nothing_is_changed():
    model, x, y = small_net(nn.ReLU)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    found = examine(model, x, y, st.Linf(8 / 255))
    assert {"training-mode", "random-outputs"} <= {doubt.name for doubt in found}
    assert found[0].numbers["layers"] == 3
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_answers_that_depend_on_the_batch():
    _, x, y = small_net(nn.ReLU)
    net = small_net(nn.ReLU)[0]
    assert "batch-dependent" in names(lambda x: net(x - x.mean(0)), x, y, st.Linf(8 / 255))


def test_chance_leaves_no_trace():
    x, y = masked.digits()
    model = masked.behind(masked.undeclared(st.GaussianNoise(0.3)))
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first = examine(model, x, y, st.Linf(0.2))
    assert torch.equal(torch.rand(3), expected)
    assert first == examine(model, x, y, st.Linf(0.2))


def test_a_part_that_says_it_is_random_is_believed():
    x, y = masked.digits()
    net = nn.Sequential(nn.Identity(), masked.plain())
    net[0].random = True
    assert names(net, x, y, st.Linf(0.2)) == {"random-outputs"}


def test_few_classes():
    x = small_inputs(8, 4)
    two, four = linear_model(48, 2), linear_model(48, 4)
    assert "few-classes" in names(two, x, two(x).argmax(1), st.Linf(0.1))
    assert "few-classes" not in names(four, x, four(x).argmax(1), st.Linf(0.1))


def test_gradients_that_are_no_numbers():
    x, y = masked.digits()
    assert "nan-gradient" in names(lambda x: masked.plain()((x * x).sqrt()), x, y, st.Linf(0.3))


def test_answers_that_jump():
    x, y = masked.digits()
    jumping = lambda x: masked.plain()(x) * (1 + (1e4 * x.sum((1, 2, 3))[:, None]).sin())  # noqa: E731
    assert {"unstable-answers", "shattered-gradient"} <= names(jumping, x, y, st.Linf(0.3))


def test_a_model_that_prefers_noise():
    x, y = masked.digits()
    net = masked.plain()
    sullen = lambda x: net(x) * ((x > 0).double().mean((1, 2, 3)) > 0.4)[:, None].to(x).mul(2).sub(1)  # noqa: E731
    assert "better-under-noise" in names(sullen, x, y, st.Linf(0.1))


def test_a_model_that_fails_off_the_rows_is_examined_as_far_as_it_answers():
    x, y = masked.digits()

    def of_bytes(x):
        if ((x * 255).round() - x * 255).abs().max() > 1e-3:
            raise ValueError("these are no bytes")
        return 1e4 * masked.plain()(x)

    doubts = examine(of_bytes, x, y, st.Linf(0.1))
    assert [doubt.name for doubt in doubts] == ["saturated", "fails-nearby"]  # once, though three tests ask there
    assert "ValueError: these are no bytes" in doubts[1].evidence
    adapted = adapt(of_bytes, x, y, st.Linf(0.1), doubts)
    assert adapted.loss == st.Margin()  # what can be repaired without noise is
    assert "Repair ended early: the model failed" in adapted.log[-1]
    with pytest.raises(st.UserError, match="no bytes"):
        examine(of_bytes, x + 1e-3, y, st.Linf(0.1, box=None))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_parts_that_nothing_can_watch_are_passed_over():
    torch.manual_seed(0)
    scripted, x = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(12, 10))), torch.rand(4, 12)
    labels = scripted(x).argmax(1)
    assert examine(scripted, x, labels, st.Linf(0.1)) == ()
    assert examine(nn.Sequential(nn.Identity(), scripted), x, labels, st.Linf(0.1)) == ()


def test_the_part_is_named_wherever_it_is():
    x, y = masked.digits()
    inner = nn.Sequential(
        nn.Identity(), nn.Sequential(masked.undeclared(st.BitDepth(2)), nn.ReLU(inplace=True)), masked.plain()
    )
    [doubt] = [doubt for doubt in examine(inner, x, y, st.Linf(0.3)) if doubt.name == "gradient-free-part"]
    assert doubt.numbers == {"1.0": 0.0}
    assert "'1.0'" in doubt.evidence


def test_how_much_of_a_movement_the_gradient_predicts():
    """A part with slope s that moves as if it had slope 1 keeps s of it."""

    class Wrong(nn.Module):
        def forward(self, x):
            return x.detach() + 20 * (x - x.detach())

    x, y = masked.digits()
    asked = probe(
        nn.Sequential(Wrong(), masked.plain()), x, y, st.Linf(0.3), RowGenerator.seeded(0, torch.arange(len(x)))
    )
    [part] = blind_parts(asked)
    assert (part.name, part.before) == ("0", False)
    assert part.kept == pytest.approx(20, rel=1e-4)


def test_a_linear_model_keeps_its_promise():
    model, x = linear_model(48, 2), small_inputs(8, 4) * 0.5 + 0.25
    y = model(x).argmax(1)
    asked = probe(model, x, y, st.Linf(0.1), RowGenerator.seeded(0, torch.arange(8)))
    found = guide(asked, asked.slope(torch.zeros_like(x)))
    torch.testing.assert_close(found.kept, torch.ones(8, dtype=x.dtype))
    torch.testing.assert_close(found.turned, torch.ones(8, dtype=x.dtype))
    assert (found.gain > found.chance).all()


def test_the_soft_margin_is_parallel_to_the_cross_entropy():
    """It is log(exp(ce) - 1); of probabilities, the same."""
    z, y = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 5
    ce = st.CrossEntropy().away(z, y)
    torch.testing.assert_close(soft_margin(z, y), ce.expm1().log())
    torch.testing.assert_close(soft_margin(z.softmax(1), y), ce.expm1().log())


def test_where_the_softmax_is_lost():
    """Two classes m apart have a slope of exp(-m): 1e-20 at 46.05."""
    z = torch.tensor([[46.0, 0.0], [46.1, 0.0], [0.0, 500.0]])
    assert saturated(z).tolist() == [False, True, True]


def test_a_doubt_has_a_known_name():
    assert Doubt("saturated", "x").title == KINDS["saturated"][0]
    with pytest.raises(KeyError, match="none of the known doubts"):
        Doubt("vague", "x")
