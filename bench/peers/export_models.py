#!/usr/bin/env python3
"""Writes torchvision architectures with seeded random weights as ONNX files (opset 13).

    python3 bench/peers/export_models.py --out /tmp/models                 # static batch of 1
    python3 bench/peers/export_models.py --out /tmp/models resnet18 vgg16  # only these
    python3 bench/peers/export_models.py --out /tmp/models --dynamic       # free batch size

Speed does not depend on what the weights are, as long as all values stay in the normal range, so
nothing is downloaded. Needs PyTorch and torchvision (from 1.13 and 0.14 on).
"""

import argparse
import inspect
import pathlib

import torch
import torchvision
from torch import nn


def conv4():
    """The four-block embedding of few-shot learning (Prototypical Networks), 84x84 pictures."""
    def block(inputs):
        return [nn.Conv2d(inputs, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
                nn.MaxPool2d(2)]

    return nn.Sequential(*block(3), *block(64), *block(64), *block(64), nn.Flatten())


OWN = {"conv4": conv4}
SIDES = {"inception_v3": 299, "conv4": 84}  # everything else takes 224x224
ARGUMENTS = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
DEFAULT = """resnet18 resnet50 vgg16 mobilenet_v2 mobilenet_v3_large efficientnet_b0 squeezenet1_1
googlenet densenet121 shufflenet_v2_x1_0 inception_v3 resnext50_32x4d regnet_y_400mf
conv4""".split()


def clouds(count, side):
    """Pictures of about unit size with structure at every scale, from flat colour to noise."""
    octaves = [torch.randn(count, 3, s, s) for s in (1, 4, 16, 64, side)]
    layers = [nn.functional.interpolate(o, (side, side), mode="bilinear") for o in octaves]
    weights = torch.rand(len(octaves), count, 1, 1, 1)
    return (torch.stack(layers) * weights).sum(0)


def randomise(model, side, seed):
    """Gives every layer seeded random parameters under which a signal keeps its size.

    Weights are normal with the variance that keeps the second moment through a ReLU. Batch norms
    get random scales and shifts, and then the statistics of a batch of pictures, so that
    activations stay near one however deep the network is.
    """
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        model(clouds(8, side))
    model.eval()


def build(name, seed, side=None):
    """The network with random weights, and the side of its pictures."""
    side = side or SIDES.get(name, 224)
    if name in OWN:
        model = OWN[name]()
    else:
        model = torchvision.models.get_model(name, weights=None, **ARGUMENTS.get(name, {}))
    randomise(model, side, seed)
    return model, side


def write(model, picture, path, dynamic):
    axes = {"input": {0: "batch"}, "output": {0: "batch"}} if dynamic else None
    # Newer PyTorch has a second exporter, which is the default there.
    known = inspect.signature(torch.onnx.export).parameters
    choice = {"dynamo": False} if "dynamo" in known else {}
    torch.onnx.export(model, picture, str(path), opset_version=13, input_names=["input"],
                      output_names=["output"], dynamic_axes=axes, **choice)


def export(name, folder, seed, dynamic):
    model, side = build(name, seed)
    pictures = clouds(2, side)
    with torch.no_grad():
        output = model(pictures)
    if not torch.isfinite(output).all() or (output[0] - output[1]).abs().max() < 1e-3:
        raise RuntimeError(f"{name}: outputs are not finite or do not vary; try another --seed")
    path = folder / f"{name}.onnx"
    write(model, pictures[:1], path, dynamic)
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB  output {output.mean():+.3f} "
          f"± {output.std():.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=DEFAULT, help="torchvision model names")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dynamic", action="store_true", help="leave the batch size free")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        export(name, arguments.out, arguments.seed, arguments.dynamic)


if __name__ == "__main__":
    main()
