"""Writes a trained network as ONNX with its manifest and labels."""

import hashlib
import json
import re

import torch
from torch import nn

from network import Block, fold
from pictures import ANIMALS, MEAN, SIZE, STD

OUTPUT = {"classifier": ("logits", "logits"), "shortcut": ("logits", "logits"),
          "embedding": ("embedding", "embedding")}  # name of the output, and what it is


def traced(model, output_name):
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
            value = output_name
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


def manifest(folder, name, model, report):
    output, kind = OUTPUT[name]
    layers = traced(model, output)
    value, shape, _ = layers["layer3"]
    labelled = kind == "logits"
    files = ["model.onnx"] + (["labels.txt"] if labelled else [])
    result = {
        "schema": 1,
        "name": f"menagerie-{name}",
        "files": [file_entry(folder, file) for file in files],
        "source": {"command": f"python3 model_zoo/menagerie/train.py {name}",
                   "data": "drawn by `camlucida menagerie`; no pictures from elsewhere"},
        "licence": "Apache-2.0",
        "onnx": {"opset": {"ai.onnx": 13},
                 "variant": "dynamic batch size; batch norms folded into the convolutions"},
        "input": {"name": "image", "shape": ["batch", 3, SIZE, SIZE],
                  "example_shape": [1, 3, SIZE, SIZE], "layout": "NCHW", "type": "float32"},
        "preprocessing": {
            "channel_order": "RGB", "scale": 1 / 255, "mean": [MEAN] * 3, "std": [STD] * 3,
            "resize": {"op": "exact", "size": [SIZE, SIZE], "filter": "pil_bilinear"},
            "crop": None, "formula": "y = (byte * scale - mean) / std"},
        "outputs": [{"name": output, "shape": ["batch", model.fc.out_features], "kind": kind}],
        "target_layer": {"module": "layer3", "value": value, "shape": shape},
        "params": sum(p.numel() for p in model.parameters()),
        "macs": sum(macs for _, _, macs in layers.values()),
        "measured": report,
        "taps": {module: layer[0] for module, layer in layers.items()},
    }
    if labelled:
        result["labels"] = "labels.txt"
        result["head"] = {"type": "gap_fc", "module": "fc",
                          "initializers": {"weight": "fc.weight", "bias": "fc.bias",
                                           "weight_shape": list(model.fc.weight.shape)}}
    return result


def write(folder, name, model, report):
    """Writes model.onnx, manifest.json and, for classifiers, labels.txt into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    fold(model)
    output, kind = OUTPUT[name]
    torch.onnx.export(model, torch.zeros(1, 3, SIZE, SIZE), str(folder / "model.onnx"),
                      opset_version=13, input_names=["image"], output_names=[output],
                      dynamic_axes={"image": {0: "batch"}, output: {0: "batch"}}, dynamo=False)
    if kind == "logits":
        (folder / "labels.txt").write_text("\n".join(ANIMALS) + "\n")
    text = json.dumps(manifest(folder, name, model, report), indent=1)
    # Lists of plain values read better on one line.
    text = re.sub(r"\[([^\[\]{}]+)\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    (folder / "manifest.json").write_text(text + "\n")
