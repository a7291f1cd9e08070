"""Messages say what was given, what is needed, and the likely fix."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import struthio as st
from struthio import UserError, checks


def test_user_errors_are_value_errors():
    assert issubclass(UserError, ValueError)


def test_normalised_inputs():
    x = torch.tensor([[-2.1, 2.6]])
    with pytest.raises(UserError) as found:
        checks.inputs(x, 0.0, 1.0, "Linf")
    assert str(found.value) == (
        "x spans [-2.1, 2.6] but Linf allows [0, 1]. If x is normalised, move the normalisation into the model: "
        "nn.Sequential(Normalize(mean, std), net). If its natural range is another, name it: box=Box(low, high)."
    )


def test_rounding_beyond_the_limits_is_forgiven():
    checks.inputs(torch.tensor([[-5e-7, 1 + 5e-7]]), 0.0, 1.0, "Linf")


def test_a_radius_in_levels():
    with pytest.raises(UserError, match=r"eps = 8, but inputs span only 1 .* Is 8/255 meant\?"):
        st.Linf(8)


def test_a_missing_dependency_names_its_extra():
    with pytest.raises(UserError, match=r"pip install 'struthio\[onnx\]'"):
        checks.need("no_such_module_anywhere", "onnx")
    assert checks.need("json", "onnx").dumps([]) == "[]"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("pdg", "Did you mean: pgd"),
        ("FGMS", "Did you mean: fgsm"),
        ("zzz", "Known attacks: fgsm, pgd."),
    ],
)
def test_near_misses(given, words):
    assert words in checks.near_misses(given, ["pgd", "fgsm"], "attacks")


def test_names_that_hold_the_word_come_first():
    assert checks.near_misses("cat", ["crate", "coast", "tiger cat"], "classes").startswith("Did you mean: tiger cat")


@pytest.mark.parametrize("labels", [[0], torch.tensor([0.0]), torch.tensor([0], dtype=torch.int32), 0])
def test_labels_are_whole_numbers_in_a_tensor(labels):
    with pytest.raises(UserError, match=r"labels are .* needed"):
        checks.classes(labels, 1, "labels")


@pytest.mark.parametrize("eps", ["0.3", None, [0.3], np.array([0.3]), torch.tensor([[0.3]])])
def test_a_radius_is_a_number(eps):
    with pytest.raises(UserError, match="a number is needed"):
        st.Linf(eps)


def test_near_misses_do_not_list_thousands():
    assert checks.near_misses("zzz", [f"class{i}" for i in range(1000)], "classes") == (
        "There are 1000 classes and none is close to it."
    )


@pytest.mark.parametrize(
    "part",
    [
        nn.BatchNorm1d(3),
        nn.Dropout(0.5),
        nn.MultiheadAttention(4, 2, dropout=0.1),
        nn.LSTM(3, 3, 2, dropout=0.1),
        nn.InstanceNorm1d(3, track_running_stats=True),
        nn.RReLU(),
    ],
    ids=lambda part: type(part).__name__,
)
def test_training_mode_is_refused_where_it_matters(part):
    model = nn.Sequential(nn.Linear(3, 3), part)
    with pytest.raises(UserError, match=r"Call model\.eval\(\) first"):
        st.FGSM()(model, torch.rand(2, 3), st.Untargeted(torch.tensor([0, 1])), st.Linf(0.1))
    checks.mode(model.eval())
    checks.mode(nn.Sequential(nn.Linear(3, 3)).train())
    for still in (nn.Dropout(0.0), nn.LSTM(3, 3), nn.InstanceNorm1d(3), nn.MultiheadAttention(4, 2)):
        checks.mode(still.train())
    checks.mode(lambda x: x)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ({"loss": None, "logits": torch.zeros(3, 2)}, r"a dict; .* here perhaps out\['logits'\]\."),
        ((torch.zeros(3), torch.zeros(3, 2)), r"a tuple; .* here perhaps out\[1\]\."),
        (SimpleNamespace(hidden=torch.zeros(3, 5, 4), scores=torch.zeros(3, 2)), r"here perhaps out\.scores\."),
        ({"masks": torch.zeros(3, 1, 8, 8)}, r"the logits alone\.$"),
        (torch.zeros(3, 1), r"torch\.cat\(\[-z, z\], 1\)"),
        (torch.zeros(3), r"torch\.stack\(\[-z, z\], 1\)"),
        (torch.zeros(3, dtype=torch.int64), r"shape \(3,\) for 3 rows"),
        (torch.zeros(3, 2, 8, 8), r"shape \(3, 2, 8, 8\) for 3 rows"),
    ],
)
def test_outputs_of_another_kind_say_what_to_return(out, words):
    with pytest.raises(UserError, match=words):
        checks.outputs(out, 3)


def test_an_attack_on_another_norm_says_which():
    with pytest.raises(UserError, match="BIM is defined in linf; the threat is l2"):
        st.BIM()(lambda x: x, torch.rand(2, 3), st.Untargeted(torch.tensor([0, 1])), st.L2(0.1))


def test_an_infinite_radius_names_the_way_out():
    model = nn.Linear(3, 3)
    for attack in (st.FGSM(), st.PGD(), st.APGD(), st.BIM(), st.MIFGSM()):
        with pytest.raises(UserError, match=r"SmallestRadius\(attack\)"):
            attack(model, torch.rand(2, 3), st.Untargeted(torch.tensor([0, 1])), st.Linf())


@pytest.mark.parametrize(
    ("check", "value", "words"),
    [
        (checks.positive, 0, "above 0"),
        (checks.positive, float("nan"), "above 0"),
        (checks.count, 2.5, "whole number"),
        (checks.count, 0, "at least 1"),
        (checks.count, True, "whole number"),
        (checks.share, 0, "above 0 and at most 1"),
        (checks.share, 1.5, "above 0 and at most 1"),
        (checks.not_negative, -1, "at least 0"),
        (checks.share, "5%", "a number is needed"),
        (checks.positive, None, "a number is needed"),
    ],
)
def test_numbers(check, value, words):
    with pytest.raises(UserError, match=f"^steps is .*{words}"):
        check(value, "steps")
    check(1, "steps")


@pytest.mark.parametrize(
    ("text", "value"), [("0.03", 0.03), ("8/255", 8 / 255), ("0.5/255", 0.5 / 255), (" 1e-3 ", 1e-3)]
)
def test_numbers_and_fractions_are_read(text, value):
    assert checks.number(text) == value


@pytest.mark.parametrize("text", ["", "8/", "1/0", "nan", "inf", "0x8", "eight"])
def test_what_is_no_finite_number_is_refused(text):
    with pytest.raises(ValueError, match=r"finite|float"):
        checks.number(text)
