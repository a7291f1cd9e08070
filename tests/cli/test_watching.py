"""What a bar says of an attack at work."""

import pytest

import struthio as st
from struthio.attacks.registry import ATTACKS, attack_class
from struthio.cli.watching import ONE_A_STEP, questions
from struthio.testing import small_inputs, small_net
from struthio.threats import threat


@pytest.mark.parametrize("name", ATTACKS)
def test_questions_are_known_ahead(name):
    """What a bar says is left: no attack asks more than is said, but for the judge and the starts of restarts."""
    kind = attack_class(name)
    options = {"steps": 3, "queries": 23, "restarts": 2}
    if kind.__name__ not in ONE_A_STEP and "queries" not in kind.__dataclass_fields__:
        assert questions(kind()) is None
        return
    form = kind(**{option: value for option, value in options.items() if option in kind.__dataclass_fields__})
    norm = next(norm for norm in ("linf", "l2", "l1", "l0", "patch") if norm in form.norms)
    given = threat({"linf": "linf:0.01", "l2": "l2:0.1", "l1": "l1:1", "l0": "l0:3", "patch": "patch:2x2"}[norm])
    model, x = small_net(8).eval(), small_inputs(1)
    asked = form(model, x, st.Untargeted(model(x).argmax(1)), given).forwards
    assert 1 <= asked <= questions(form) + 5
    assert questions(st.Repeat(form, 3)) == 3 * questions(form)
