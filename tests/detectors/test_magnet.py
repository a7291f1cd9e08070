"""MagNet's detectors: the divergence in closed form, and scores that are what they say."""

import math

import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.defenses.training import Course
from struthio.detectors.magnet import ReconstructionDivergence, ReconstructionError, jensen_shannon

NET = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()
X, Y = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
SHORT = Course(epochs=1)


def test_jensen_shannon_by_hand():
    p, q = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    near = jensen_shannon(p.clamp(min=1e-12).log(), q.clamp(min=1e-12).log())
    torch.testing.assert_close(near, torch.tensor([math.log(2), 0.0]))


def test_scores_are_the_loss_of_the_picture_and_of_the_answer():
    lost = ReconstructionError(2, (3,), course=SHORT).fit(NET, X, Y)
    torch.testing.assert_close(lost.score(X), (X - lost.net(X)).square().mean((1, 2, 3)))
    apart = ReconstructionDivergence(5, (3,), course=SHORT).fit(NET, X, Y)
    said, again = (NET(each).div(5).softmax(1) for each in (X, apart.net(X)))
    middle = (said + again) / 2
    wanted = ((said * (said / middle).log()).sum(1) + (again * (again / middle).log()).sum(1)) / 2
    torch.testing.assert_close(apart.score(X), wanted, rtol=1e-3, atol=1e-6)


def test_rows_that_are_no_pictures_are_refused():
    with pytest.raises(UserError, match="takes pictures"):
        ReconstructionError().fit(nn.Linear(36, 3).eval(), X.flatten(1), Y)
