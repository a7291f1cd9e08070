"""A board of defences that hide the gradient: each misleads PGD, is found out by name, and falls to what repairs it."""

import pytest

import struthio as st
from struthio.audit.doubts import examine
from struthio.audit.repair import adapt
from tests.audit import masked


@pytest.mark.parametrize("name", masked.BOARD)
def test_hidden_found_and_broken(name):
    make, radius, doubts = masked.BOARD[name]
    model, threat, (x, y) = make().eval(), st.Linf(radius), masked.digits()
    before = masked.naive(model, x, y, threat)
    found = examine(model, x, y, threat)
    adapted = adapt(model, x, y, threat, found)
    attack = adapted.fit(st.APGD(steps=10 if adapted.draws == 1 else 7))
    x_adv = attack(adapted.model, x, st.Untargeted(y), threat).x_adv
    after = masked.left(model, x_adv, st.Untargeted(y), adapted.draws)
    print(f"{name:14} naive {before:.2f} adapted {after:.2f}  {', '.join(doubt.name for doubt in found)}")
    assert before > 0.3
    assert doubts <= {doubt.name for doubt in found}
    assert after <= 0.07
    assert all(doubt.remedy for doubt in adapted.doubts)
    assert (adapted.draws > 1) == ("random-outputs" in doubts)
