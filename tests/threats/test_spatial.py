"""Rotation and shift: known moves, the promises of every threat, and the size found from pictures alone."""

import math

import pytest
import torch
import torch.nn.functional as F

import struthio as st
from struthio.testing import small_inputs, threat_promises

THREATS = {
    "whole": st.Spatial(),
    "half, other limits": st.Spatial(0.5, angle=15, shift=0.2),
    "a share a row": st.Spatial(torch.linspace(0.2, 1, 8)),
}


@pytest.mark.parametrize("promise", threat_promises(), ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", THREATS)
def test_promises(name, promise):
    promise(THREATS[name], small_inputs())


def move(angle=0.0, right=0.0, down=0.0):
    return torch.tensor([[angle, right, down]]).double()


def test_whole_turns_are_exact():
    """A quarter turn clockwise moves the top line to the right-hand column."""
    x = torch.rand(1, 2, 6, 6).double()
    turned = st.Spatial(angle=90).apply(x, move(1))
    torch.testing.assert_close(turned, x.rot90(-1, (2, 3)))
    torch.testing.assert_close(st.Spatial(angle=90).apply(x, move(-1)), x.rot90(1, (2, 3)))


def test_whole_shifts_are_exact():
    """With zeros, or what is named, coming in."""
    x = torch.rand(1, 1, 10, 20).double()
    right = st.Spatial(shift=0.1).apply(x, move(right=1))
    torch.testing.assert_close(right, F.pad(x, (2, 0))[..., :20])
    down = st.Spatial(shift=0.1, fill=0.5).apply(x, move(down=-1))
    torch.testing.assert_close(down, F.pad(x, (0, 0, 0, 1), value=0.5)[:, :, 1:])


def test_oblong_pictures_keep_their_shape():
    """Turned by 90 degrees about the centre, a point right of it stands below it, at the same distance in pixels."""
    x = torch.zeros(1, 1, 11, 21).double()
    x[0, 0, 5, 13] = 1
    turned = st.Spatial(angle=90).apply(x, move(1))
    assert turned[0, 0, 8, 10].item() == pytest.approx(1)
    assert turned.sum().item() == pytest.approx(1)


def test_the_shift_comes_after_the_rotation():
    x = torch.rand(1, 1, 8, 8).double()
    both = st.Spatial(angle=90, shift=0.25).apply(x, move(1, 0.5, 1))
    turned = st.Spatial(angle=90).apply(x, move(1))
    torch.testing.assert_close(both, st.Spatial(shift=0.25).apply(turned, move(0, 0.5, 1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_move_is_found_from_the_pictures(dtype):
    x = next(iter(st.load_data("data:digits").batches(20)))[1].to(dtype)
    threat, generator = st.Spatial(), st.RowGenerator.seeded(3, torch.arange(20))
    z = threat.sample(x, generator)
    size = threat.size(x, threat.apply(x, z))
    torch.testing.assert_close(size, z.abs().amax(1), atol=1e-3, rtol=0)


def test_the_move_is_found_after_rounding_to_256_levels():
    x = next(iter(st.load_data("data:digits").batches(10)))[1]
    threat = st.Spatial()
    moved = threat.apply(x, threat.sample(x, st.RowGenerator.seeded(3, torch.arange(10))))
    assert threat.allows(x, (moved * 255).round() / 255).all()


def test_what_is_no_move_has_no_size():
    x = small_inputs()
    assert st.Spatial().size(x, x).eq(0).all()
    noisy = (x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert st.Spatial().size(x, noisy).isinf().all()
    beyond = st.Spatial(angle=60).apply(x, torch.tensor([[1.0, 0, 0]]).double().expand(8, 3))
    assert not st.Spatial().allows(x, beyond).any()


def test_the_slope_of_the_move_is_that_of_the_picture():
    """By differences, away from the places where the interpolation has a kink."""
    x, threat = small_inputs(2), st.Spatial()
    z = torch.tensor([[0.3, 0.21, -0.4], [-0.7, 0.11, 0.9]]).double().requires_grad_()
    weight = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    (grad,) = torch.autograd.grad((threat.apply(x, z) * weight).sum(), z)
    for axis in range(3):
        step = 1e-7 * torch.eye(3)[axis].double()
        up, low = ((threat.apply(x, z.detach() + sign * step) * weight).flatten(1).sum(1) for sign in (1, -1))
        torch.testing.assert_close((up - low) / 2e-7, grad[:, axis], atol=1e-5, rtol=1e-5)


def test_texts():
    assert st.threat("spatial:30:0.1") == st.Spatial(1.0, 30.0, 0.1)
    assert st.threat("Spatial") == st.Spatial()
    assert st.threat("spatial:15") == st.Spatial(angle=15.0)
    for wrong in ("spatial:30:0.1:2", "spatial:x", "spatial:0"):
        with pytest.raises(st.UserError):
            st.threat(wrong)


def test_what_cannot_be_meant():
    for wrong in ({"eps": 30}, {"eps": -0.1}, {"angle": 0}, {"shift": -1}, {"eps": math.nan}):
        with pytest.raises(st.UserError):
            st.Spatial(**wrong)
    with pytest.raises(st.UserError, match="pictures"):
        st.Spatial().check(torch.rand(2, 5))
    with pytest.raises(st.UserError, match="radii"):
        st.Spatial(torch.rand(3)).check(torch.rand(2, 1, 5, 5))
