#!/usr/bin/env python3
"""Trains the bundled shape classifier and writes everything in this folder that is not code.

    python3 tests/shapes/train.py            # about ten minutes on one core

Needs PyTorch (1.13), numpy and Pillow. Writes shapes.onnx, labels.txt, manifest.json, examples/.
"""

import argparse
import hashlib
import json
import pathlib
import re
import time

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import examples
import render

SIZE = 96
MEAN, STD = 0.5, 0.5
TRAIN_SEED, HELD_OUT_SEED = 1, 20260
GAIN = 8.0  # see ShapeNet.forward


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


class ShapeNet(nn.Module):
    """[N, 3, 96, 96] -> 48x48 -> 24x24 -> 12x12 -> average -> [N, 8] logits."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, 2, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = Block(16, 16, 1)
        self.layer2 = Block(16, 32, 2)
        self.layer3 = Block(32, 48, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(48, len(render.CLASSES))
        self.gain = GAIN

    def features(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))

    def forward(self, x):
        # The average over 144 positions dilutes an object that covers a few of them. A fixed gain
        # makes up for it, which speeds learning; fold() moves it into the head's weights.
        x = self.pool(self.features(x)).flatten(1)
        return self.fc(x if self.gain == 1 else self.gain * x)


def to_tensor(pictures):
    """uint8 [N, H, W, 3] -> normalised float32 [N, 3, H, W]; the manifest's preprocessing."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def augment(x):
    """Turns and mirrors a batch, and mixes its colour channels: shapes stay, the rest changes."""
    x = torch.rot90(x, int(torch.randint(4, ())), (2, 3))
    if torch.rand(()) < 0.5:
        x = x.flip(3)
    return x[:, torch.randperm(3)]


def fit(model, pictures, labels, epochs, peak, batch=64):
    """One learning-rate cycle that ends near zero; `peak` is its highest rate."""
    model.train()
    labels = torch.from_numpy(labels)
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=1e-3)
    steps = epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=steps)
    begin = time.time()
    for epoch in range(epochs):
        order = torch.randperm(len(labels))
        losses = []
        for i in range(0, len(order) - batch + 1, batch):
            index = order[i : i + batch]
            x = augment(to_tensor(pictures[index.numpy()]))
            logits = model(x.contiguous(memory_format=torch.channels_last))
            loss = nn.functional.cross_entropy(logits, labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1:2d}  loss {np.mean(losses):.4f}  {time.time() - begin:.0f} s",
              flush=True)


def train(count):
    """Trains in two steps; `count` is the number of pictures of the second one.

    From scratch, whole pictures teach nothing for a long time, because the average over all
    positions hides a small object among the clutter. So the network first learns from close-ups,
    where the object has about the same size in pixels but fills a 48x48 picture.
    """
    model = ShapeNet().to(memory_format=torch.channels_last)
    print("close-ups", flush=True)
    close = render.singles(3 * count // 4, TRAIN_SEED, SIZE // 2, radii=(0.33, 0.47))
    fit(model, *close, epochs=6, peak=0.005)
    print("whole pictures", flush=True)
    fit(model, *render.singles(count, TRAIN_SEED, SIZE), epochs=10, peak=0.008)
    return model.to(memory_format=torch.contiguous_format).eval()


def predict(model, pictures):
    """Logits [N, classes] as a numpy array."""
    with torch.no_grad():
        return torch.cat([model(to_tensor(pictures[i : i + 200]))
                          for i in range(0, len(pictures), 200)]).numpy()


def evaluate(model, count):
    """Prints how the model does on pictures it has not seen; returns the accuracy."""
    pictures, labels = render.singles(count, HELD_OUT_SEED, SIZE)
    answers = predict(model, pictures).argmax(1)
    accuracy = float((answers == labels).mean())
    print(f"held-out accuracy {100 * accuracy:.2f} % of {count}; a row per true class:")
    counts = np.zeros((len(render.CLASSES),) * 2, int)
    np.add.at(counts, (labels, answers), 1)
    for name, row in zip(render.CLASSES, counts):
        print(f"{name:>9} {row}")
    pictures, both = render.pairs(count // 4, HELD_OUT_SEED, SIZE)
    best = np.argsort(-predict(model, pictures), 1)[:, :2]
    found = (np.sort(best, 1) == np.sort(both, 1)).all(1).mean()
    print(f"two objects: both are the two best answers in {100 * found:.2f} % of {len(both)}")
    for objects in (1, 2):
        share = peaks_inside(model, count // 8, objects)
        print(f"map's peak inside its own object, {objects} in the picture: {100 * share:.2f} %")
    return accuracy


def peaks_inside(model, count, objects):
    """Share of objects whose class activation map is highest within 1.1 radii of their centre."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    hits = []
    for _ in range(count):
        shapes = [render.CLASSES[i] for i in rng.permutation(len(render.CLASSES))[:objects]]
        scene = render.random_scene(rng, shapes, (0.15, 0.32 if objects == 1 else 0.23))
        with torch.no_grad():
            features = model.features(to_tensor(render.draw(scene, SIZE)[None]))[0]
            maps = torch.einsum("oc,chw->ohw", model.fc.weight, features).numpy()
        for thing in scene.things:
            grid = maps[render.CLASSES.index(thing.shape)]
            row, column = np.unravel_index(grid.argmax(), grid.shape)
            x, y = (column + 0.5) / grid.shape[1], (row + 0.5) / grid.shape[0]
            hits.append(np.hypot(x - thing.x, y - thing.y) < 1.1 * thing.radius)
    return np.mean(hits)


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


def traced(model):
    """Module name -> (ONNX value of its output, output shape, multiply-adds), in order of use."""
    found, hooks = {}, []
    operators = {nn.Conv2d: "Conv", nn.ReLU: "Relu", nn.AdaptiveAvgPool2d: "GlobalAveragePool"}

    def record(name, module, output):
        shape = list(output.shape)
        value, macs = None, 0
        if type(module) in operators:
            value = f"/{name.replace('.', '/')}/{operators[type(module)]}_output_0"
        elif isinstance(module, Block):
            value = f"/{name}/relu2/Relu_output_0"
        elif isinstance(module, nn.Linear):
            value = "logits"
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            macs = output.numel() * module.weight[0].numel()
        if value:
            found[name] = (value, shape, macs)

    for name, module in model.named_modules():
        hooks.append(module.register_forward_hook(
            lambda module, _, output, name=name: record(name, module, output)))
    with torch.no_grad():
        model(torch.zeros(1, 3, SIZE, SIZE))
    for hook in hooks:
        hook.remove()
    return found


def file_entry(folder, name):
    data = (folder / name).read_bytes()
    return {"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def manifest(folder, model, accuracy, count):
    layers = traced(model)
    value, shape, _ = layers["layer3"]
    files = ["shapes.onnx", "labels.txt"] + [f"examples/{name}" for name in examples.SCENES]
    return {
        "schema": 1,
        "name": "shapes",
        "files": [file_entry(folder, name) for name in files],
        "source": {"command": "python3 tests/shapes/train.py",
                   "data": "drawn by render.py; no pictures from elsewhere"},
        "licence": "Apache-2.0",
        "onnx": {"opset": {"ai.onnx": 13},
                 "variant": "dynamic batch size; batch norms folded into the convolutions"},
        "input": {"name": "image", "shape": ["batch", 3, SIZE, SIZE],
                  "example_shape": [1, 3, SIZE, SIZE], "layout": "NCHW", "type": "float32"},
        "preprocessing": {
            "channel_order": "RGB", "scale": 1 / 255, "mean": [MEAN] * 3, "std": [STD] * 3,
            "resize": {"op": "exact", "size": [SIZE, SIZE], "filter": "pil_bilinear"},
            "crop": None, "formula": "y = (byte * scale - mean) / std"},
        "outputs": [{"name": "logits", "shape": ["batch", len(render.CLASSES)],
                     "kind": "logits"}],
        "labels": "labels.txt",
        "target_layer": {"module": "layer3", "value": value, "shape": shape},
        "head": {"type": "gap_fc", "module": "fc",
                 "initializers": {"weight": "fc.weight", "bias": "fc.bias",
                                  "weight_shape": list(model.fc.weight.shape)}},
        "params": sum(p.numel() for p in model.parameters()),
        "macs": sum(macs for _, _, macs in layers.values()),
        "sample_accuracy": {"set": "held-out pictures drawn by render.py", "seed": HELD_OUT_SEED,
                            "n": count, "top1": accuracy},
        "examples": [{"file": f"examples/{name}", "objects": [t.shape for t in scene().things]}
                     for name, scene in examples.SCENES.items()],
        "taps": {name: layer[0] for name, layer in layers.items()},
    }


def export(folder, model, accuracy, count):
    fold(model)
    torch.onnx.export(model, torch.zeros(1, 3, SIZE, SIZE), str(folder / "shapes.onnx"),
                      opset_version=13, input_names=["image"], output_names=["logits"],
                      dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}})
    (folder / "labels.txt").write_text("\n".join(render.CLASSES) + "\n")
    (folder / "examples").mkdir(exist_ok=True)
    for name, scene in examples.SCENES.items():
        picture = Image.fromarray(render.draw(scene(), examples.SIZE))
        picture.save(folder / "examples" / name, optimize=True)
        small = np.array(picture.resize((SIZE, SIZE), Image.BILINEAR))
        logits = predict(model, small[None])[0]
        best = np.argsort(-logits)[:3]
        print(f"{name}: " + ", ".join(f"{render.CLASSES[i]} {logits[i]:.2f}" for i in best))
    text = json.dumps(manifest(folder, model, accuracy, count), indent=1)
    # Lists of plain values read better on one line.
    text = re.sub(r"\[([^\[\]{}]+)\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    (folder / "manifest.json").write_text(text + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--pictures", type=int, default=16000, help="training pictures")
    parser.add_argument("--held-out", type=int, default=4000, help="pictures for the accuracy")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(TRAIN_SEED)
    model = train(arguments.pictures)
    accuracy = evaluate(model, arguments.held_out)
    export(arguments.out, model, accuracy, arguments.held_out)


if __name__ == "__main__":
    main()
