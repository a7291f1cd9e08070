"""One stable text for any option value, from which it can be made again."""

import math
from dataclasses import replace

import pytest
import torch

import struthio as st
from struthio.describe import describe, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (st.PGD(), "PGD()"),
        (st.PGD(steps=20, step=0.1), "PGD(steps=20, step=0.1)"),
        (st.PGD(loss=st.Margin()), "PGD(loss=Margin())"),
        (st.PGD(gradient=st.Averaged(samples=5)), "PGD(gradient=Averaged(samples=5))"),
        (st.Repeat(st.FGSM(), 3), "Repeat(attack=FGSM(), times=3)"),
        (st.Cascade((st.FGSM(),)), "Cascade(attacks=(FGSM(),))"),
        (st.Linf(8 / 255), "Linf(eps=8/255)"),
        (st.Linf(8.5 / 255), "Linf(eps=8.5/255)"),
        (st.Linf(0.3), "Linf(eps=0.3)"),
        (st.L2(), "L2()"),
        (st.L2(0.5, st.Box(-1, 1)), "L2(eps=0.5, box=Box(low=-1, high=1))"),
        (st.L2(0.5, None), "L2(eps=0.5, box=None)"),
        (st.Levels(st.Linf(4 / 255)), "Levels(threat=Linf(eps=4/255))"),
        (st.L0(3, unit="pixel"), "L0(eps=3, unit='pixel')"),
        (st.L2(1, st.Box(0, torch.ones(2))), "L2(eps=1, box=Box(low=0, high=Tensor(2,)#5f07ee))"),
        (True, "True"),
        (None, "None"),
        ("nes", "'nes'"),
        ((1, 2.5), "(1, 2.5)"),
        ([], "()"),
        (math.inf, "inf"),
        (math.sin, "sin"),
        (torch.zeros(2, 3), "Tensor(2, 3)#17b076"),
    ],
)
def test_known_texts(value, text):
    assert describe(value) == text


def test_text_is_that_of_the_options_and_not_of_the_object():
    attack = st.PGD(steps=7, loss=st.DLR())
    assert describe(attack) == describe(replace(attack)) == describe(st.PGD(loss=st.DLR(), steps=7))
    assert describe(attack) != describe(replace(attack, steps=8))


@pytest.mark.parametrize("value", [st.PGD(steps=20), st.APGD(restarts=2), st.Levels(st.L2(0.5)), st.Linf(17 / 255)])
def test_text_makes_the_value_again(value):
    assert eval(describe(value), vars(st) | {name: getattr(st, name) for name in st.__all__}) == value


@pytest.mark.parametrize("levels", range(1, 255))
def test_radii_read_as_what_they_are(levels):
    """Levels of 255 print as such, or as a decimal that is exactly the same number."""
    text = number(levels / 255)
    assert text == f"{levels}/255" or float(text) == levels / 255


@pytest.mark.parametrize("text", ["0.1", "0.03", "0.3", "0.25", "0.031", "1", "12", "1e-06", "0.5"])
def test_decimals_stay_decimals(text):
    assert number(float(text)) == text
