"""Networks for pictures of 32 x 32: the field's pre-activation ResNet-18, and wide ResNets small enough for a CPU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from struthio.checks import UserError
from struthio.models.normalize import Normalize

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)  # of the training pictures, channel by channel


class PreActBlock(nn.Module):
    """Batch-norm, ReLU and convolution, twice, added to what came in (He et al., 2016, arXiv 1603.05027)."""

    def __init__(self, wide: int, out: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(wide), nn.BatchNorm2d(out)
        self.conv1 = nn.Conv2d(wide, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        alike = wide == out and stride == 1
        self.shortcut = None if alike else nn.Conv2d(wide, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features [n, out, h / stride, w / stride]."""
        seen = F.relu(self.bn1(x))
        past = x if self.shortcut is None else self.shortcut(seen)
        new: Tensor = self.conv2(F.relu(self.bn2(self.conv1(seen))))
        return new + past


class PreActNet(nn.Module):
    """Groups of pre-activation blocks, each group at half the side of the one before; normalisation is inside.

    Args:
        widths: of the first convolution, then of each group.
        blocks: in each group.
        classes: how many.
    """

    def __init__(self, widths: tuple[int, ...], blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.normalize = Normalize(MEAN, STD)
        self.first = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        layers: list[nn.Module] = []
        wide = widths[0]
        for group, out in enumerate(widths[1:]):
            for block in range(blocks):
                layers.append(PreActBlock(wide, out, 2 if group and not block else 1))
                wide = out
        self.groups = nn.Sequential(*layers)
        self.last = nn.BatchNorm2d(wide)
        self.classify = nn.Linear(wide, classes)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes] of pictures [n, 3, 32, 32] in [0, 1]."""
        features = F.relu(self.last(self.groups(self.first(self.normalize(x)))))
        logits: Tensor = self.classify(features.mean((2, 3)))
        return logits


def preact_resnet18(classes: int = 10) -> PreActNet:
    """The pre-activation ResNet-18 in which adversarial training is compared: 11.2 million weights."""
    return PreActNet((64, 64, 128, 256, 512), 2, classes)


def wide_resnet(depth: int = 16, width: int = 1, classes: int = 10) -> PreActNet:
    """WRN-depth-width (Zagoruyko, Komodakis, 2016, arXiv 1605.07146), without dropout; 16-1 has 175,000 weights.

    Raises UserError where the depth is not 6 n + 4.
    """
    blocks, rest = divmod(depth - 4, 6)
    if rest or blocks < 1:
        raise UserError(f"a wide ResNet has a depth of 6 n + 4 (10, 16, 22, 28, ...), not {depth}.")
    return PreActNet((16, 16 * width, 32 * width, 64 * width), blocks, classes)
