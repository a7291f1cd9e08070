"""What stands in the wrong place of a call is named, with what belongs there."""

import pytest
import torch
from torch import nn

import struthio as st

X, Y = torch.full((2, 3), 0.5), torch.tensor([0, 1])
MODEL, GOAL, THREAT = nn.Identity(), st.Untargeted(Y), st.Linf(0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("zoo:digits-cnn", X, GOAL, THREAT), r"the model is a str; .*st\.load"),
        (
            (MODEL, X, st.Untargeted(Y.to("meta")), THREAT),
            r"labels are on meta, but x is on cpu.*labels\.to\(x\.device\)",
        ),
        ((MODEL, X, st.Targeted(Y.to("meta")), THREAT), "targets are on meta"),
        ((MODEL, X, st.Drift(X.to("meta")), THREAT), "outputs are on meta"),
        (
            (lambda x: x.view(2, 3), X[[0, 0, 0]], st.Untargeted(Y[[0, 0, 0]]), THREAT),
            r"let it take any, as in x\.flatten",
        ),
        ((nn.Identity, X, GOAL, THREAT), "the model is the class Identity itself"),
        ((MODEL, X.numpy(), GOAL, THREAT), "x is a ndarray; .*torch.from_numpy"),
        ((MODEL, X, Y, THREAT), r"the goal is a Tensor; .*st\.Untargeted"),
        ((MODEL, X, THREAT, GOAL), "the goal is a Linf"),
        ((MODEL, X, GOAL, "linf:0.1"), r"the threat is a str; .*st\.threat"),
        ((MODEL, X, GOAL, st.Linf), "the threat is the class Linf itself"),
        ((MODEL, X, GOAL, THREAT, None), "generator is None; a seed"),
        ((MODEL, X.double()[None], GOAL, THREAT), "labels have shape"),
        ((nn.Linear(3, 3), X.double(), GOAL, THREAT), r"torch\.float64 on cpu"),
    ],
)
def test_arguments_of_another_kind(arguments, words):
    with pytest.raises(st.UserError, match=words):
        st.PGD(steps=1)(*arguments)


@pytest.mark.parametrize("loss", ["dlr", nn.CrossEntropyLoss()])
def test_a_loss_of_another_kind(loss):
    with pytest.raises(st.UserError, match=r"the attack's loss is a .*st\.DLR"):
        st.PGD(steps=1, loss=loss)(MODEL, X, GOAL, THREAT)


@pytest.mark.parametrize("gradient", ["averaged", st.Averaged])
def test_a_gradient_of_another_kind(gradient):
    with pytest.raises(st.UserError, match=r"the attack's gradient is .*st\.Averaged"):
        st.PGD(steps=1, gradient=gradient)(MODEL, X, GOAL, THREAT)


def test_rows_from_inference_mode():
    with torch.inference_mode():
        x, labels = X.clone(), Y.clone()
    assert len(st.FGSM()(MODEL, x, GOAL, THREAT)) == 2
    with pytest.raises(st.UserError, match=r"labels\.clone\(\)"):
        st.FGSM()(MODEL, X, st.Untargeted(labels), THREAT)


@pytest.mark.parametrize("attack", [st.PGD(steps=1), st.DeepFool(steps=1)])
def test_a_call_under_inference_mode_is_told_of_it(attack):
    with torch.inference_mode(), pytest.raises(st.UserError, match=r"torch\.no_grad\(\)"):
        attack(MODEL, X, GOAL, st.L2(0.1))
    with torch.inference_mode():
        assert len(st.RandomSearch(queries=2)(MODEL, X, GOAL, THREAT)) == 2
