"""Distillation: what is divided by T, what the student learns, and what a refused teacher is told."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.train.distillation import Distillation, Tempered

T = 20.0


def pieces(classes=3):
    torch.manual_seed(0)
    return torch.rand(7, 4), torch.randint(classes, (7,)), nn.Linear(4, classes), nn.Linear(4, classes).eval()


def test_the_teachers_logits_are_divided_by_the_temperature():
    x, y, model, _ = pieces()
    assert torch.isclose(Tempered(T)(model, x, y), -(model(x) / T).log_softmax(1)[range(7), y].mean())
    assert Tempered(1.0)(model, x, y) == F.cross_entropy(model(x), y)


def test_the_student_is_compared_at_the_same_temperature_and_no_label_is_read():
    x, y, model, teacher = pieces()
    soft = (teacher(x) / T).exp() / (teacher(x) / T).exp().sum(1, keepdim=True)
    wanted = -(soft * (model(x) / T).log_softmax(1)).sum(1).mean()
    found = Distillation(teacher, T)(model, x, y)
    assert torch.isclose(found, wanted)
    assert found == Distillation(teacher, T)(model, x, (y + 1) % 3)


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn_and_the_teacher_gets_no_gradient():
    x, y, model, teacher = pieces()
    model.load_state_dict(teacher.state_dict())
    Distillation(teacher, T)(model, x, y).backward()
    assert float(model.weight.grad.abs().max()) < 1e-7
    assert teacher.weight.grad is None


def test_at_a_temperature_the_best_logits_are_as_many_times_larger():
    x, y, model, _ = pieces()
    Tempered(1.0)(model, x, y).backward()
    slopes = [value.grad.clone() for value in model.parameters()]
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(T)
    model.zero_grad()
    Tempered(T)(model, x, y).backward()  # flat where the slope at a temperature of 1 was flat
    assert all(torch.allclose(value.grad, slope / T) for value, slope in zip(model.parameters(), slopes, strict=True))


def test_mistakes_are_explained():
    x, y, _, teacher = pieces()
    with pytest.raises(st.UserError, match="temperature is 0"):
        Tempered(0.0)
    with pytest.raises(st.UserError, match="training mode"):
        Distillation(nn.Sequential(nn.Linear(4, 3), nn.Dropout()))
    with pytest.raises(st.UserError, match="same classes"):
        Distillation(teacher)(nn.Linear(4, 5), x, y)
