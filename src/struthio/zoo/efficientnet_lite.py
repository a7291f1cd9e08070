"""EfficientNet-Lite0: a real ImageNet network of 4.7 million parameters that runs fast without a graphics card."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from struthio.models.normalize import Normalize

STAGES = (  # how many blocks, kernel, stride of the first, expansion, channels out
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _conv(inside: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, out, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups, bias=False)


def _padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around x as the original network was trained with: a stride of two pads less above and left than below."""
    if stride == 1:
        return x
    height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


class Block(nn.Module):
    """An inverted residual: widen, filter each channel, narrow; added to its input where shapes allow."""

    def __init__(self, inside: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.kernel, self.stride = kernel, stride
        self.adds = stride == 1 and inside == out
        if expansion > 1:
            self.expand_conv, self.bn0 = _conv(inside, wide, 1), _norm(wide)
        self.depthwise_conv, self.bn1 = _conv(wide, wide, kernel, stride, groups=wide), _norm(wide)
        self.project_conv, self.bn2 = _conv(wide, out, 1), _norm(out)
        self.relu = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        """[n, inside, h, w] to [n, out, h / stride, w / stride]."""
        wide = self.relu(self.bn0(self.expand_conv(x))) if hasattr(self, "expand_conv") else x
        filtered = self.bn1(self.depthwise_conv(_padded(wide, self.kernel, self.stride)))
        out: Tensor = self.bn2(self.project_conv(self.relu(filtered)))
        return x + out if self.adds else out


class EfficientNetLite0(nn.Module):
    """Pictures [n, 3, 224, 224] in [0, 1] to 1,000 ImageNet logits; the normalisation is inside.

    Tan and Le, 2019, arXiv 1905.11946, in the Lite variant: ReLU6 and no squeeze-and-excitation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.conv_stem, self.bn0 = _conv(3, 32, 3, stride=2), _norm(32)
        blocks, inside = [], 32
        for count, kernel, stride, expansion, out in STAGES:
            for index in range(count):
                blocks.append(Block(inside, out, kernel, stride if index == 0 else 1, expansion))
                inside = out
        self.blocks = nn.Sequential(*blocks)
        self.conv_head, self.bn1 = _conv(inside, 1280, 1), _norm(1280)
        self.relu = nn.ReLU6()
        self.fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, 1000]."""
        x = self.relu(self.bn0(self.conv_stem(_padded(self.normalize(x), 3, 2))))
        x = self.relu(self.bn1(self.conv_head(self.blocks(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits
