"""A model that abstains: what its last column means, what evading it means, and where the line is drawn."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio import UserError
from struthio.detectors import Detector, Guarded
from struthio.detectors.registry import DETECTORS, detector_class
from struthio.goals import Evade, against
from struthio.losses import DLR, CrossEntropy, LogitGap, Margin
from struthio.testing.traces import Counting

OUTPUTS = torch.tensor([[3.0, 1.0, 0.0, 2.0], [0.0, 2.0, 1.0, -1.0], [0.0, 2.0, 1.0, 2.5], [1.0, 0.0, 4.0, 5.0]])
LABELS = torch.tensor([0, 0, 0, 2])


class Brightness(Detector):
    """The mean of a row; its threshold is set by hand."""

    paper = "nobody"

    def __init__(self, threshold=0.0, spread=1.0):
        super().__init__()
        self.threshold.fill_(threshold)
        self.spread.fill_(spread)
        self.shape = (2,)

    def _fit(self, model, x, y, x_adv):
        pass

    def score(self, x):
        if self.model is not None:
            self.model(x)
        return x.mean(1)


def test_evading_is_wrong_and_unnoticed():
    goal = Evade(st.Untargeted(LABELS))
    assert goal.success(OUTPUTS).tolist() == [False, True, False, False]
    # Class margins -2, 2, 2, -3; the highest class less the last column 1, 3, -0.5, -1.
    assert goal.score(Margin(), OUTPUTS).tolist() == [-2, 2, -0.5, -3]
    assert goal.score(LogitGap(), OUTPUTS).tolist() == [-2, 2, -0.5, -3]


@pytest.mark.parametrize("loss", [Margin(), CrossEntropy(), DLR()])
def test_every_loss_rises_with_the_one_that_is_further_away(loss):
    """A flagged row gains by a lower last column, a row that is right most by its classes."""
    goal = Evade(st.Untargeted(LABELS))
    outputs = OUTPUTS.clone().requires_grad_()
    (slope,) = torch.autograd.grad(goal.score(loss, outputs).sum(), outputs)
    assert float(slope[2, -1]) < 0
    assert float(slope[0, 0]) < 0
    assert float(slope[0, 1]) > 0
    assert abs(float(slope[0, -1])) < 0.5 * abs(float(slope[0, 1]))


def test_on_the_ridge_both_count_alike():
    """Where both are as far away, the slope is the mean of both; the value is the smaller one, infinite ones too."""
    outputs = torch.tensor([[2.0, 1.0, 3.0], [4.0, 1.0, 2.0]], requires_grad=True)
    score = Evade(st.Untargeted(torch.tensor([0, 0]))).score(Margin(), outputs)
    assert score.tolist() == [-1, -3]
    (slope,) = torch.autograd.grad(score.sum(), outputs)
    torch.testing.assert_close(slope[0], torch.tensor([0.0, 0.5, -0.5]))
    sharp = Evade(st.Untargeted(torch.tensor([0, 0])), blend=False)[:2].score(Margin(), outputs)
    assert torch.autograd.grad(sharp.sum(), outputs)[0][1].tolist() == [-1, 1, 0]
    share = torch.tensor(5 / 3).sigmoid()  # -3 by its classes, 2 by the last column
    torch.testing.assert_close(slope[1], torch.stack([1 - 2 * share, share, share - 1]))
    endless = torch.tensor([[1.0, -torch.inf, 0.0]], requires_grad=True)
    score = Evade(st.Untargeted(torch.tensor([0]))).score(Margin(), endless)
    assert score.tolist() == [-torch.inf]
    assert not torch.autograd.grad(score.sum(), endless)[0].isnan().any()


def test_a_target_unnoticed():
    goal = Evade(st.Targeted(torch.tensor([1, 1, 1, 1])))
    assert goal.success(OUTPUTS).tolist() == [False, True, False, False]
    assert goal[torch.tensor([1, 2])].success(OUTPUTS[1:3]).tolist() == [True, False]
    with pytest.raises(UserError, match="classes 0 to 2"):
        Evade(st.Untargeted(torch.tensor([3]))).check_outputs(OUTPUTS[:1])
    assert against(LABELS) == st.Untargeted(LABELS)


def test_the_last_column_wins_where_a_row_is_flagged():
    net = nn.Linear(2, 3)
    guarded = Guarded(net, Brightness(threshold=0.5, spread=2.0))
    x = torch.tensor([[0.0, 0.2], [0.9, 0.9], [0.5, 0.5]])
    outputs = guarded(x)
    torch.testing.assert_close(outputs[:, :3], net(x))
    torch.testing.assert_close(outputs[:, 3], net(x).amax(1) + (x.mean(1) - 0.5) / 2)
    assert (outputs.argmax(1) == 3).tolist() == [False, True, False]


def test_a_detector_that_asks_the_model_pays_for_both():
    model = Counting(nn.Linear(2, 3))
    detector = Brightness(0.5)
    guarded = Guarded(model, detector)
    guarded(torch.rand(4, 2))
    assert model.forwards == 4
    detector.model = model
    guarded(torch.rand(4, 2))
    assert model.forwards == 8
    assert not model._forward_hooks


def test_each_target_leads_to_classes_and_not_to_abstaining():
    torch.manual_seed(0)
    net = nn.Linear(2, 3)
    x = torch.rand(6, 2)
    labels = net(x).argmax(1)
    guarded = Guarded(net, Brightness(threshold=-10.0))  # flags every row
    for order in ("score", "distance"):
        attack = st.EachTarget(st.PGD(steps=3, loss=Margin()), 9, order=order)
        assert attack(guarded, x, Evade(st.Untargeted(labels)), st.Linf(0.1)).rate == 0


def test_the_joint_attack_goes_around_a_border():
    """Class 1 lies to the right, rows above the diagonal are flagged: the way is right, and down."""
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        net.bias.copy_(torch.tensor([1.0, -1.0]) * 0.5)
    guarded = Guarded(net, Brightness(threshold=0.5, spread=0.1))
    x, labels = torch.tensor([[0.4, 0.55]]), torch.tensor([0])
    plain = st.PGD(loss=Margin())(net, x, st.Untargeted(labels), st.Linf(0.2)).x_adv
    assert bool(guarded.detector.flags(torch.tensor([[0.52, 0.55]])))
    assert net(plain).argmax(1).tolist() == [1]
    joint = st.PGD(loss=Margin())(guarded, x, Evade(st.Untargeted(labels)), st.Linf(0.2))
    assert joint.rate == 1
    assert float(joint.x_adv[0, 0]) > 0.5
    assert float(joint.x_adv.mean()) <= 0.5


def test_the_threshold_is_the_score_of_a_rank():
    x = torch.arange(99.0)[:, None].expand(-1, 2)
    detector = Brightness()
    assert float(detector.calibrate(x, 0.05).threshold) == 94  # ceil(100 * 0.95) = 95th of 0..98
    assert int(detector.flags(x).sum()) == 4
    assert float(detector.spread) == pytest.approx(float(torch.arange(99.0).std()))
    with pytest.raises(UserError, match="at least 99 are needed"):
        detector.calibrate(x[:98], 0.01)
    with pytest.raises(UserError, match="fpr is 5"):
        detector.calibrate(x, 5)


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(UserError, match="cannot be read as what a detector stored"):
        Brightness().load(tmp_path / "nothing", nn.Identity())
    (tmp_path / "torn").write_bytes(b"abc")
    with pytest.raises(UserError, match="cannot be read as what a detector stored"):
        Brightness().load(tmp_path / "torn", nn.Identity())
    with pytest.raises(UserError, match="cannot write"):
        Brightness().save(tmp_path / "nowhere" / "file")


def test_a_fit_that_fails_leaves_a_detector_that_says_so(tmp_path):
    x, y = torch.rand(40, 6), torch.zeros(40, dtype=torch.int64)
    net, lid = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)), detector_class("lid")(reference=30)
    lid.fit(net, x, y, x).calibrate(x, 0.1).save(tmp_path / "lid.safetensors")
    with pytest.raises(UserError, match="30 are set apart"):
        lid.fit(net, x[:30], y[:30], x)
    with pytest.raises(UserError, match="was not fitted"):
        lid.flags(x)
    other = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    binary = detector_class("binary-layer")().fit(net, x, y, x)
    binary.save(tmp_path / "binary.safetensors")
    with pytest.raises(UserError, match="does not fit"):
        binary.load(tmp_path / "binary.safetensors", other)
    with pytest.raises(UserError, match="was not fitted"):
        binary.flags(x)


def test_a_line_is_drawn_in_evaluation_mode_alone():
    x, y = torch.rand(40, 6), torch.zeros(40, dtype=torch.int64)
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    detector = detector_class("lid")(reference=30).fit(net, x, y, x)
    net.train()
    with pytest.raises(UserError, match="training mode"):
        detector.calibrate(x, 0.1)
    assert int(net[1].num_batches_tracked) == 0


def test_a_state_dict_of_another_detector_is_refused():
    x, y = torch.rand(40, 6), torch.zeros(40, dtype=torch.int64)
    net = nn.Linear(6, 2)
    held = Guarded(net, detector_class("pca-tail")().fit(net, x, y)).state_dict()
    with pytest.raises(UserError, match="of PCATail, not of Discriminator"):
        Guarded(net, detector_class("discriminator")()).load_state_dict(held)


def test_a_stored_state_belongs_to_one_detector(tmp_path):
    pca = detector_class("pca-tail")()
    x = torch.rand(40, 6)
    pca.fit(nn.Linear(6, 2), x, torch.zeros(40, dtype=torch.int64)).calibrate(x, 0.1)
    pca.save(tmp_path / "pca.safetensors")
    with pytest.raises(UserError, match="not of Brightness"):
        Brightness().load(tmp_path / "pca.safetensors", nn.Linear(6, 2))


def test_names():
    assert all(issubclass(detector_class(name), Detector) for name in DETECTORS)
    with pytest.raises(UserError, match="mahalanobis"):
        detector_class("mahalonobis")
