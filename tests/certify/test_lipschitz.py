"""Spectral norms are never below the true ones, and close to them; radii are never beaten."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.certify.lipschitz import convolution_norm, steepness
from struthio.certify.trace import trace


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1), (1, 1), (1, 1), 1),
        ((2, 3), (1, 0), (1, 1), 1),
        ((2, 1), (2, 2), (2, 2), 1),
        ((2, 2), (1, 1), (1, 1), 2),
    ],
)
def test_a_convolution_against_its_matrix(stride, padding, dilation, groups):
    torch.manual_seed(0)
    kernel, size = torch.randn(6, 4 // groups, 3, 3, dtype=torch.float64), (7, 8)
    pixels = torch.eye(4 * 56, dtype=torch.float64).reshape(-1, 4, *size)
    matrix = F.conv2d(pixels, kernel, None, stride, padding, dilation, groups).flatten(1)
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    bound = convolution_norm(kernel, size, list(stride), list(padding), list(dilation), groups)
    assert exact <= bound <= 1.25 * exact


def test_linear_networks_are_exact():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.Linear(5, 3)).eval()
    x = torch.rand(4, 2, 4)
    weight = (model[2].weight @ model[1].weight).double()
    exact = (weight[:, None] - weight[None]).norm(dim=2)
    off = ~torch.eye(3, dtype=torch.bool)
    assert torch.allclose(steepness(trace(model, x))[off], exact[off], atol=1e-6)
    logits, labels = model(x).double(), model(x).argmax(1)
    distance = ((logits.gather(1, labels[:, None]) - logits) / exact[labels]).nan_to_num(nan=torch.inf).amin(1)
    assert torch.allclose(st.lipschitz_radius(model, x, labels), distance, atol=1e-6)
    assert bool((st.lipschitz_radius(model, x, (labels + 1) % 3) == 0).all())


def test_no_step_changes_a_margin_by_more():
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.Sigmoid(),
        nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    x = torch.rand(200, 2, 8, 8)
    most = steepness(trace(model, x))
    step = torch.randn(200, 2, 8, 8) * 0.05
    change = (model(x + step) - model(x)).detach().double()
    pairs = (change[:, :, None] - change[:, None]).abs() / step.flatten(1).norm(dim=1).double()[:, None, None]
    off = ~torch.eye(3, dtype=torch.bool)
    assert bool((pairs.amax(0) <= most)[off].all())
