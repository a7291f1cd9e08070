"""The loop against ten lines of torch, against itself after a stop, and what it says of mistakes."""

import dataclasses
import math
import signal
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from struthio.attacks import PGD
from struthio.checks import UserError
from struthio.data import Samples
from struthio.threats import Linf
from struthio.train import Evaluation, Plan, Recipe, fit
from struthio.train.checkpoint import read
from struthio.train.fit import Diverged
from struthio.train.job import TrainingWarning
from struthio.train.pgd_at import PGDAT
from struthio.train.plain import Plain
from struthio.train.registry import RECIPES, make

PLAN = Plan(epochs=2, batch=16, lr=0.2, evaluation=Evaluation(rows=20))


def rows(n=100, classes=3):
    """Points of a cube whose class is their largest coordinate."""
    x = torch.rand(n, classes, generator=torch.Generator().manual_seed(1))
    return x, x.argmax(1)


def net(width=8, classes=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(classes, width), nn.ReLU(), nn.Linear(width, classes))


def weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_it_is_ten_lines_of_torch(optimizer):
    """Full batches and a constant rate, so that the order of rows changes rounding alone."""
    x, y = rows(32)
    plan = Plan(epochs=5, batch=32, optimizer=optimizer, lr=0.1, schedule="constant", evaluation=None)
    model, reference = net(), net()
    steps = (
        torch.optim.SGD(reference.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
        if optimizer == "sgd"
        else torch.optim.Adam(reference.parameters(), 0.1, weight_decay=5e-4)
    )
    losses = []
    for _ in range(5):
        steps.zero_grad()
        loss = F.cross_entropy(reference(x), y)
        loss.backward()
        steps.step()
        losses.append(float(loss.detach()))
    trained = fit(model, (x, y), Plain(), plan)
    assert [line.loss for line in trained.history] == pytest.approx(losses, abs=1e-6)
    torch.testing.assert_close(weights(trained.model), weights(reference), atol=1e-5, rtol=0)
    assert trained.model is model
    assert not model.training


def test_it_learns_and_keeps_the_best():
    recipe, plan = PGDAT(Linf(0.02), attack=PGD(2, keep="last")), dataclasses.replace(PLAN, epochs=8, batch=40, lr=0.5)
    trained = fit(net(), rows(400), recipe, plan)
    assert trained.best.robust == max(line.robust for line in trained.history)
    assert trained.best.robust > 0.6
    assert trained.best.clean >= trained.best.robust
    assert trained.history[-1].loss < trained.history[0].loss
    assert trained.history[0].judged == 20


def test_rows_kept_out_are_never_shown():
    seen = set()

    @dataclasses.dataclass(frozen=True)
    class Watching(Plain):
        def loss(self, model, x, y, moment):
            seen.update(x[:, 0].tolist())
            return super().loss(model, x, y, moment)

    x, y = rows()
    fit(net(), (x, y), Watching(), PLAN)
    assert len(seen) == 80
    fit(net(), (x, y), Watching(), PLAN, held=rows(30))
    assert len(seen) == 100


def test_parts_of_a_batch_are_the_batch():
    x, y = rows(96)
    alone = dataclasses.replace(PLAN, evaluation=None, batch=24)
    whole = fit(net(), (x, y), PGDAT(Linf(0.1), attack=PGD(2, keep="last")), alone)
    parts = fit(net(), (x, y), PGDAT(Linf(0.1), attack=PGD(2, keep="last")), dataclasses.replace(alone, accumulate=3))
    torch.testing.assert_close(weights(whole.model), weights(parts.model), atol=1e-5, rtol=0)


@dataclasses.dataclass(frozen=True)
class Remembering(Recipe):
    """Draws at random, keeps something from step to step, and uses dropout."""

    paper = "none"

    def loss(self, model, x, y, moment):
        past = moment.kept.get("past", torch.zeros(()))
        noise = 0.1 * moment.generator.normal(x.shape[1:])
        loss = F.cross_entropy(F.dropout(model(x + noise), 0.2), y) * (1 + 0.1 * past)
        moment.kept["past"] = loss.detach()
        return loss


class Enough(Exception):
    pass


@pytest.mark.parametrize("average", ["none", "ema", "swa"])
def test_stopped_anywhere_it_goes_on_as_if_nothing_had_happened(tmp_path, average):
    x, y = rows()
    plan = dataclasses.replace(PLAN, epochs=4, optimizer="adam", lr=0.05, average=average, average_from=0.4)

    def made():
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    torch.manual_seed(3)
    start = made().state_dict()

    def run(folder=None, after=math.inf):
        calls = []

        def tell(progress):
            calls.append(progress)
            if len(calls) == after:
                signal.raise_signal(signal.SIGTERM)

        model = made()
        model.load_state_dict(start)
        return fit(model, (x, y), Remembering(), plan, to=folder, tell=tell)

    through = run()
    for after in (3, 1, 6, 5):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "made", after)
    last = run(tmp_path / "made")
    assert torch.equal(weights(through.model), weights(last.model))
    assert [line.loss for line in through.history] == [line.loss for line in last.history]
    assert torch.equal(weights(run(tmp_path / "made").model), weights(last.model))  # finished: nothing is left to do


def test_the_random_state_outside_is_left_alone():
    model, before = net(), torch.get_rng_state()
    fit(model, rows(), Remembering(), PLAN)
    assert torch.equal(torch.get_rng_state(), before)


def test_patience_ends_it():
    plan = dataclasses.replace(PLAN, epochs=50, lr=1e-9, evaluation=Evaluation(rows=20, patience=3))
    assert len(fit(net(), rows(), Plain(), plan).history) == 4


def test_a_loss_that_is_no_number_names_the_batch(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Failing(Plain):
        def loss(self, model, x, y, moment):
            return super().loss(model, x, y, moment) * (math.nan if moment.step == 8 else 1)

    model = net()
    with pytest.raises(Diverged, match=r"loss is nan in epoch 2, step 9, on the rows .* lower lr") as caught:
        fit(model, rows(), Failing(), PLAN, to=tmp_path)
    assert len(caught.value.rows) == 16
    with pytest.raises(Diverged, match="epoch 2, step 9"):  # from the checkpoint, which is whole
        fit(net(), rows(), Failing(), PLAN, to=tmp_path)


def test_a_folder_in_which_another_trains_is_refused(tmp_path):
    def tell(now):
        with pytest.raises(UserError, match="another process is writing in"):
            fit(net(), rows(), Plain(), PLAN, to=tmp_path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(net(), rows(), Plain(), PLAN, to=tmp_path, tell=tell)
    assert len(fit(net(), rows(), Plain(), PLAN, to=tmp_path).history) == 2  # what was left behind is in nobody's way


def test_mistakes_are_said_before_anything_begins():
    x, y = rows()
    with pytest.raises(UserError, match="no labels"):
        fit(net(), Samples(x, None), Plain(), PLAN)
    with pytest.raises(UserError, match="labels up to 9, but the model knows classes 0 to 2"):
        fit(net(), (x, y.where(y > 0, torch.tensor(9))), Plain(), PLAN)
    with pytest.raises(UserError, match="nothing to train"):
        fit(net().requires_grad_(False), (x, y), Plain(), PLAN)
    with pytest.raises(UserError, match="no pictures"):
        fit(net(), (x, y), Plain(), dataclasses.replace(PLAN, shift=2))
    with pytest.raises(UserError, match="cannot be cut into 9 parts"):
        fit(net(), (x, y), Plain(), dataclasses.replace(PLAN, batch=8, accumulate=9))
    with pytest.raises(UserError, match="x spans"):
        fit(net(), (x * 255, y), PGDAT(Linf(0.1)), PLAN)
    with pytest.raises(UserError, match="Is 8/255 meant"):
        fit(net(), (x, y), PGDAT(Linf(8)), PLAN)
    with pytest.raises(UserError, match="needs a GPU"):
        fit(net(), (x, y), Plain(), dataclasses.replace(PLAN, precision="fp16"))


def test_a_class_without_rows_is_warned_of():
    x, y = rows()
    with pytest.warns(TrainingWarning, match=r"no row of 1 of the model's 3 classes \(2\)"):
        fit(net(), (x[y < 2], y[y < 2]), Plain(), PLAN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(net(), (x, y), Plain(), PLAN)


ALONE = [name for name in RECIPES if name not in ("static", "distillation", "cmt")]  # these need more than a model


@pytest.mark.parametrize("name", ALONE)
def test_every_recipe_is_trained_stopped_and_gone_on_with(tmp_path, name):
    x, y = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3
    plan = Plan(epochs=1, batch=12, lr=0.01, average="ema", evaluation=None)

    def run(folder, stops):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 4, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))

        def tell(progress):
            if stops and progress.batch == 1 and progress.finished is None:
                signal.raise_signal(signal.SIGTERM)

        return fit(model, (x, y), make(name), plan, to=folder, tell=tell).model

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "made", True)
    through, last = run(None, False), run(tmp_path / "made", False)
    assert torch.equal(weights(through), weights(last))
    assert last(x).shape[0] == 24
    assert bool(last(x).isfinite().all())


def test_weights_that_are_no_numbers_are_not_kept(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Steep(Plain):
        """A finite loss whose slope is infinite, in the last step of the first epoch."""

        def loss(self, model, x, y, moment):
            kink = (model[0].weight * 0).abs().sum().sqrt() if moment.step == 4 else 0
            return super().loss(model, x, y, moment) + kink

    with pytest.raises(UserError, match=r"the weights hold NaN.* clip = 1\.0"):
        fit(net(), rows(), Steep(), PLAN, to=tmp_path)
    tensors, facts = read(tmp_path / "checkpoint.safetensors")
    assert all(bool(value.isfinite().all()) for value in tensors.values())
    assert facts["standing"]["history"] == []
