"""The figure of ROC curves."""

import pytest
import torch
from PIL import Image

from struthio import UserError
from struthio.detectors.roc import roc
from struthio.report.roc import draw_roc


def curves():
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(60, generator=generator)
    return {"good": roc(clean, clean + 3), "blind": roc(clean, clean)}


def test_names_and_areas_are_in_the_figure(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw_roc(curves(), tmp_path / "roc.svg", foot="60 rows", format="svg")
    text = (tmp_path / "roc.svg").read_text()
    for words in ("blind  0.500", f"good  {curves()['good'].auc:.3f}", "clean rows flagged", "60 rows"):
        assert words in text


def test_the_picture(tmp_path):
    draw_roc(curves(), tmp_path / "roc.png")
    assert Image.open(tmp_path / "roc.png").size[0] > 1000


def test_too_many(tmp_path):
    with pytest.raises(UserError, match="9 curves"):
        draw_roc({str(n): curves()["good"] for n in range(9)}, tmp_path / "roc.png")
