"""Tables become recipes and plans."""

import pytest

from struthio.checks import UserError
from struthio.losses import Margin
from struthio.threats import Linf
from struthio.train import Evaluation, Plan
from struthio.train.awp import AWP
from struthio.train.pgd_at import PGDAT
from struthio.train.plain import Plain
from struthio.train.recipe_file import read, shipped, understood
from struthio.train.trades import TRADES, NoisyStart


@pytest.mark.parametrize("name", shipped())
def test_the_ready_ones_are_read(name):
    made = read(name)
    assert made.model
    assert made.plan.epochs > 1


def test_values():
    table = {
        "recipe": {"name": "pgd-at", "threat": "linf:8/255", "attack": {"name": "pgd", "steps": 3, "loss": "margin"}},
        "plan": {"lr": "1/8", "milestones": [0.2, 0.4], "clip": 1, "evaluation": {"threat": "l2:1", "rows": 7}},
    }
    made = understood(table, "it")
    assert isinstance(made.recipe, PGDAT)
    assert made.recipe.threat == Linf(8 / 255)
    assert (made.recipe.attack.steps, made.recipe.attack.loss, made.recipe.attack.keep) == (3, Margin(), "first")
    assert (made.plan.lr, made.plan.milestones, made.plan.clip) == (0.125, (0.2, 0.4), 1.0)
    assert made.plan.evaluation.rows == 7
    assert made.plan.evaluation.attack == Evaluation().attack
    assert understood({"recipe": "plain"}, "it").recipe == Plain()
    assert understood({"recipe": "plain"}, "it").plan == Plan()


def test_a_table_without_a_name_changes_what_stands_there():
    made = understood({"recipe": {"name": "trades", "attack": {"steps": 2}}}, "it").recipe
    assert made.attack == NoisyStart(steps=2, loss=TRADES().attack.loss)
    wrapped = understood({"recipe": {"name": "awp", "recipe": {"threat": "linf:0.1"}}}, "it").recipe
    assert wrapped == AWP(PGDAT(Linf(0.1)))


def test_models_are_loaded_and_frozen():
    made = understood({"recipe": {"name": "distillation", "teacher": "zoo:digits-cnn"}}, "it").recipe
    assert not any(parameter.requires_grad for parameter in made.teacher.parameters())
    with pytest.raises(UserError, match=r"recipe\.teacher: the zoo has no model"):
        understood({"recipe": {"name": "distillation", "teacher": "zoo:digit"}}, "it")
    with pytest.raises(UserError, match="teacher: it is missing"):
        understood({"recipe": "distillation"}, "it")


def test_what_is_no_table_is_told_in_the_words_of_a_recipe_file():
    with pytest.raises(UserError, match=r"model: text in quotes is needed \(given: 5\)\n  plan: a table of options"):
        understood({"recipe": "plain", "plan": 4, "model": 5}, "it")
