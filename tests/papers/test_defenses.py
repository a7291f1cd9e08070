"""Defences around a plain network seem to hold and do not: Athalye, Carlini, Wagner, 2018, arXiv 1802.00420."""

import pytest

import struthio as st
from tests.audit import masked

AROUND = {
    "two bits": lambda net: st.BitDepth.around(net, 2),
    "jpeg": lambda net: st.Jpeg.around(net, 50),
    "resize and pad": st.ResizeAndPad.around,
    "sap": lambda net: st.SAP.around(net, form="independent"),
    "noise": lambda net: st.GaussianNoise.around(net, 0.2),
}


@pytest.mark.slow
def test_naive_attacks_fail_on_three_of_five_and_adaptive_ones_on_none():
    (x, y), threat = masked.digits(24), st.Linf(0.3)
    naive, known = {}, {}
    for name, around in AROUND.items():
        model = around(masked.plain())
        naive[name] = masked.naive(model, x, y, threat)
        twin, attack = st.adaptive(model, st.PGD(steps=20, loss=st.Margin()), samples=10)
        known[name] = masked.left(model, attack(twin, x, st.Untargeted(y), threat).x_adv, st.Untargeted(y), 21)
    assert sum(share >= 0.4 for share in naive.values()) >= 3, naive
    assert max(known.values()) <= 0.1, known


@pytest.mark.slow
def test_what_is_adaptive_changes_nothing_on_a_sound_network():
    model, (x, y), threat = st.load("zoo:digits-robust"), masked.digits(100), st.Linf(0.3)
    twin, attack = st.adaptive(model, st.PGD(steps=40))
    standing = [
        masked.left(judged, attack(judged, x, st.Untargeted(y), threat).x_adv, st.Untargeted(y), 1)
        for judged in (model, twin)
    ]
    assert abs(standing[0] - standing[1]) <= 0.02
    assert standing[0] > 0.8
