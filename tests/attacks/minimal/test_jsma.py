"""JSMA: a case solved by hand, and the best pair against the whole square of pairs."""

import pytest
import torch

import struthio as st
from struthio.attacks.minimal.jsma import best_pair
from struthio.testing import LinearModel, small_inputs, small_net


def by_hand():
    """Class 1 gains 3, 2, 1 and 0.1 from the four values; class 0 leads by 4."""
    weight = torch.tensor([[0.0, 0, 0, 0], [3, 2, 1, 0.1], [0, -1, 0, 0]]).double()
    return LinearModel(weight, torch.tensor([4.0, 0, -9]).double()), torch.zeros(1, 4).double()


def test_a_case_solved_by_hand():
    """Alpha is (3, 2, 1, .1), beta (0, -1, 0, 0): -alpha beta is 5 for (0, 1), 3 for (1, 2), 0 without value 1."""
    model, x = by_hand()
    result = st.JSMA(upsilon=0.5, softmax=False)(model, x, st.Targeted(torch.tensor([1])), st.L0())
    assert result.x_adv.tolist() == [[1, 1, 0, 0]]
    assert result.success.all()
    assert result.size.tolist() == [2]


def test_values_that_were_changed_are_used_up():
    """With class 0 ahead by 5.5 the second pair is needed, but no pair with beta below 0 is left."""
    model, x = by_hand()
    with torch.no_grad():
        model.bias[0] = 5.5
    result = st.JSMA(upsilon=1.0, softmax=False)(model, x, st.Targeted(torch.tensor([1])), st.L0())
    assert not result.success.any()
    assert result.size.tolist() == [2]


def test_down_is_up_in_a_mirror():
    model, x = by_hand()
    mirror = LinearModel(-model.weight.detach(), (model.bias + model.weight.sum(1)).detach())
    goal = st.Targeted(torch.tensor([1]))
    down = st.JSMA(upsilon=0.5, direction="down", softmax=False)(mirror, 1 - x, goal, st.L0())
    up = st.JSMA(upsilon=0.5, softmax=False)(model, x, goal, st.L0())
    torch.testing.assert_close(down.x_adv, 1 - up.x_adv)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_pair_is_that_of_the_whole_square(seed):
    generator = torch.Generator().manual_seed(seed)
    alpha, beta = torch.randn(2, 6, 40, generator=generator).double()
    if seed % 2:
        alpha, beta = alpha.round(), beta.round()  # many ties
    domain = torch.rand(6, 40, generator=generator) < 0.7
    pair, found = best_pair(alpha, beta, domain)
    a, b = (values[:, :, None] + values[:, None, :] for values in (alpha, beta))
    fits = (domain[:, :, None] & domain[:, None, :] & (a > 0) & (b < 0)).triu(1)
    best = torch.where(fits, -a * b, -torch.inf).flatten(1).amax(1)
    assert torch.equal(found, best > -torch.inf)
    value = -alpha.gather(1, pair).sum(1) * beta.gather(1, pair).sum(1)
    torch.testing.assert_close(value[found], best[found])
    assert (pair[found][:, 0] != pair[found][:, 1]).all()
    assert domain.gather(1, pair)[found].all()


def test_no_more_than_the_share_is_changed():
    model, x = small_net(8), small_inputs(4, 8)
    goal = st.Targeted(model(x).argmin(1))
    result = st.JSMA(upsilon=0.05)(model, x, goal, st.L0())
    assert (result.size <= 0.05 * 192).all()
    assert (result.forwards <= 0.05 * 192 / 2 + 3).all()


def test_two_goals_at_once_are_refused():
    model, x = small_net(8), small_inputs(2, 8)
    labels = model(x).argmax(1)
    with pytest.raises(st.UserError, match="one class"):
        st.JSMA()(model, x, st.Both(st.Untargeted(labels), st.Drift(model(x).detach())), st.L0())
