"""ResNet-20 for 32 x 32 pixels, in the shape of its published CIFAR-10 weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from struthio import Normalize


class Basic(nn.Module):
    """Two 3x3 convolutions around a shortcut that drops every other pixel and pads channels with zeros (option A)."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.pad = (out - inside) // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad)) if self.pad else x
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + short)


class ResNet20(nn.Module):
    """He, Zhang, Ren, Sun, 2015, arXiv 1512.03385: three stages of three blocks; the normalisation is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1)
        self.layer2 = self._stage(16, 32, 2)
        self.layer3 = self._stage(32, 64, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(inside: int, out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(Basic(inside, out, stride), Basic(out, out, 1), Basic(out, out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, 10] of pictures [n, 3, 32, 32] in [0, 1]."""
        x = F.relu(self.bn1(self.conv1(self.normalize(x))))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))
