import numpy as np
import pytest
import torch
from PIL import Image

from struthio.report.figure import AFTER, BEFORE, Panel, draw, enlarged_noise

ANSWERS = [("a class with a name that goes on for longer than any panel is wide", 0.7), ("cat", 0.2), ("dog", 0.1)]


def _drawn(shape, path, answers=ANSWERS):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    panels = [Panel(title, x, answers) for title in ("before", "noise x10, on grey", "after")]
    draw(panels, path, r"$\not{a formula$ 猫.png")
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 28, 28), (3, 300, 100), (3, 10, 2000), (3, 1, 1), (3, 1500, 2500)])
def test_every_shape_has_margins_and_a_readable_size(shape, tmp_path):
    figure = _drawn(shape, tmp_path / "figure.png")
    assert 1500 < figure.shape[1] < 2000
    assert 300 < figure.shape[0] < 1400
    for edge in (figure[:15], figure[-5:], figure[:, :40], figure[:, -40:]):
        assert (edge == 255).all()


def test_fewer_answers_than_three(tmp_path):
    assert _drawn((3, 8, 8), tmp_path / "figure.png", ANSWERS[:2]).size


def test_colours_follow_the_classes(tmp_path):
    def has(figure, colour):
        wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        return bool((figure == wanted).all(-1).sum() > 100)

    x = torch.zeros(3, 8, 8)
    before, after = [("cat", 0.9), ("dog", 0.1)], [("dog", 0.9), ("cat", 0.1)]
    draw([Panel("before", x, before), Panel("after", x, after)], tmp_path / "two.png")
    figure = np.asarray(Image.open(tmp_path / "two.png").convert("RGB"))
    left, right = figure[:, : figure.shape[1] // 2], figure[:, figure.shape[1] // 2 :]
    assert has(left, BEFORE)
    assert has(left, AFTER)
    assert has(right, BEFORE)
    assert has(right, AFTER)


def test_the_noise_is_enlarged_and_shifted():
    x = torch.full((3, 2, 2), 0.5)
    x_adv = x.clone()
    x_adv[0, 0, 0], x_adv[1, 0, 0] = 0.52, 0.3
    noise = enlarged_noise(x, x_adv)
    assert noise[0, 0, 0] == pytest.approx(0.7)
    assert noise[1, 0, 0] == 0
    assert noise[2, 1, 1] == 0.5
