"""What is known of forgeries, found again on two cores. Each test names its source."""

import math

import pytest
import torch

import struthio as st

IGUANA = 39  # the common iguana of ImageNet


@pytest.fixture(scope="module")
def lite():
    return st.load("zoo:efficientnet-lite0")


@pytest.mark.slow
def test_iguanas_from_noise(lite):
    """CS 230: from white noise a network is certain of an iguana, and no other view of the picture shows it one."""
    found = st.forge(lite, torch.full((5,), IGUANA), "noise", steps=300)
    assert found.success.all()
    assert found.steps.max() < 300
    views = (found.x.flip(3), torch.nn.functional.avg_pool2d(found.x, 3, 1, 1), found.x.roll((4, 4), (2, 3)))
    with torch.no_grad():
        agree = torch.stack([lite(view).argmax(1) == IGUANA for view in views])
    assert agree.float().mean() < 0.2


@pytest.mark.slow
def test_a_cat_becomes_an_iguana(lite):
    """CS 230: held close to a photograph of a cat, the forgery is an iguana within 8 levels of 255."""
    data = st.load_data("data:pictures", size=(3, 224, 224))
    cat = data.x[torch.tensor([data.names.index("chelsea")])]
    found = st.forge(lite, IGUANA, cat, closeness=0.01, lr=0.001, steps=100)
    assert found.success.all()
    assert found.distance(math.inf) < 8 / 255


@pytest.mark.slow
@pytest.mark.xfail(strict=True, reason="missed: L2 takes 29 to 53 steps on EfficientNet-Lite0 where L1 takes 5 to 7")
def test_squared_distances_are_quicker_than_absolute_ones(lite):
    """CS 230 says that the L2 distance from the one-hot target works better than L1.

    The L1 distance is 2 (1 - p(target)), and its slope leads straight to the target; the L2 distance also holds the sum
    of the squares of all other probabilities, and first flattens the class that is strongest by chance. So it is under
    Adam, whose steps do not shrink with a slope.
    """
    square, absolute = (
        st.forge(lite, torch.full((5,), IGUANA), "noise", objective=objective, steps=300) for objective in ("l2", "l1")
    )
    assert square.steps.float().mean() < absolute.steps.float().mean()
