"""The networks of the Menagerie: a small residual trunk with one of two heads."""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Block(nn.Module):
    """Residual block: two 3x3 convolutions and a shortcut, 1x1 where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.shortcut is not None:
            x = self.shortcut_bn(self.shortcut(x))
        return self.relu2(y + x)


class Net(nn.Module):
    """[N, 3, 96, 96] -> 48x48 -> 24x24 -> 12x12 -> average -> [N, outputs].

    `widths`: channels of the stem and of the three blocks. One dense layer follows the average, so
    that class activation maps are exact.
    """

    def __init__(self, widths, outputs):
        super().__init__()
        stem, first, second, third = widths
        self.conv1 = nn.Conv2d(3, stem, 5, 2, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.layer1 = Block(stem, first, 2)
        self.layer2 = Block(first, second, 2)
        self.layer3 = Block(second, third, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, outputs)
        # The average over all positions dilutes an animal that covers a few of them. A fixed gain
        # makes up for it, which speeds learning; fold() moves it into the head's weights.
        self.gain = 4.0

    def features(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))

    def forward(self, x):
        x = self.pool(self.features(x)).flatten(1)
        return self.fc(x if self.gain == 1 else self.gain * x)


def fold(model):
    """Puts each batch norm into the convolution before it, and the gain into the head.

    Doing it here and not in the ONNX exporter lets the initializers keep their names.
    """
    for module in [model] + [m for m in model.modules() if isinstance(m, Block)]:
        for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("shortcut", "shortcut_bn")):
            if hasattr(module, norm):
                fused = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
                setattr(module, conv, fused)
                setattr(module, norm, nn.Identity())
    with torch.no_grad():
        model.fc.weight *= model.gain
    model.gain = 1.0
