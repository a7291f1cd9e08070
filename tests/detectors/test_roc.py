"""The area under the curve, in closed form and beside scikit-learn's."""

import pytest
import torch

from struthio import UserError
from struthio.detectors.roc import auc, roc


def test_known_areas():
    assert auc(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])) == 1
    assert auc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 0
    assert auc(torch.ones(4), torch.ones(3)) == 0.5
    assert auc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, -1.0, 2.0])) == pytest.approx((1.5 + 0 + 2) / 6)


@pytest.mark.parametrize("levels", [3, 10_000])
def test_the_curve_is_that_of_scikit_learn(levels):
    from sklearn.metrics import roc_auc_score, roc_curve

    generator = torch.Generator().manual_seed(1)
    clean = torch.randint(levels, (70,), generator=generator).double()
    adversarial = torch.randint(levels, (50,), generator=generator).double() + levels / 10
    truth = torch.cat([torch.zeros(70), torch.ones(50)]).numpy()
    scores = torch.cat([clean, adversarial]).numpy()
    curve = roc(clean, adversarial)
    false, true, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    assert curve.auc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert curve.auc == pytest.approx(float(torch.trapezoid(curve.true_positives, curve.false_positives)), abs=1e-12)
    torch.testing.assert_close(curve.false_positives, torch.from_numpy(false))
    torch.testing.assert_close(curve.true_positives, torch.from_numpy(true))
    torch.testing.assert_close(curve.thresholds, torch.from_numpy(thresholds))


def test_what_is_caught_at_a_rate():
    curve = roc(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([2.5, 3.5]))
    assert curve.caught_at(0.0) == 0.5
    assert curve.caught_at(0.25) == 1.0


def test_what_cannot_be_meant():
    with pytest.raises(UserError, match="at least one row"):
        auc(torch.zeros(0), torch.ones(2))
    with pytest.raises(UserError, match="1 of 2 scores are NaN"):
        roc(torch.zeros(2), torch.tensor([1.0, torch.nan]))
