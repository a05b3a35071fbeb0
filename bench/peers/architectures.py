#!/usr/bin/env python3
"""Imports well-known architectures as several exporters write them, and compares the results.

    python3 bench/peers/architectures.py --camlucida build/bin/camlucida             # everything
    python3 bench/peers/architectures.py --camlucida build/bin/camlucida resnet18 timm/repvgg_a2

Every network gets seeded random weights (export_models.py) and is exported from PyTorch with its
TorchScript exporter at several operator sets, with a static and a free batch size, and with its
newer exporter ("dynamo"). For each network the table says how far Camlucida is, at worst over its
files,

  - from ONNX Runtime in the outputs,
  - from PyTorch in double in the outputs, and
  - from PyTorch in double in sum_k G_k A_k (the HiResCAM map: gradient and activation of every
    channel enter) at a layer half-way, or, where the file has lost the names of its modules, in
    sum_c x_c dy/dx_c at the picture,

each as the largest difference of the largest value; in brackets how far PyTorch in float32 is from
PyTorch in double there. Random deep networks amplify rounding, some of them grossly: an error says
something only beside that figure.

Needs PyTorch 2, torchvision, timm, onnx, onnxscript and onnxruntime.
"""

import argparse
import contextlib
import copy
import io
import json
import logging
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnxruntime
import timm
import torch
import torchvision
from torch import nn

import export_models

SIDES = {"alexnet": 224, "vgg11": 224, "vgg16_bn": 224, "inception_v3": 160, "timm/resnet50_clip": 224,
         "timm/resnet50_clip_gap": 224}  # all others 128
TORCHVISION = """alexnet vgg11 vgg16_bn squeezenet1_1 resnet18 resnet50 resnext50_32x4d
wide_resnet50_2 googlenet inception_v3 densenet121 mobilenet_v2 mobilenet_v3_small
mobilenet_v3_large efficientnet_b0 efficientnet_v2_s regnet_x_400mf regnet_y_400mf mnasnet1_0
shufflenet_v2_x1_0 convnext_tiny conv4""".split()
TIMM = """repvgg_a0 mixnet_s resnetv2_50 nf_resnet50 tf_efficientnet_b0 resnest14d resnetblur18
darknet53 cspresnet50 dla34 hrnet_w18_small ghostnet_100 lcnet_100 seresnet50 resnet50_clip
resnet50_clip_gap""".split()
EXPORTS = [("9", False), ("13", False), ("17", False), ("17", True), ("dynamo", False)]


def build(name, seed):
    """The network with random weights, and a picture for it."""
    torch.manual_seed(seed)
    side = SIDES.get(name, 128)
    if name.startswith("timm/"):
        model = timm.create_model(name[5:], pretrained=False)
    elif name in export_models.OWN:
        model, side = export_models.OWN[name](), export_models.SIDES[name]
    else:
        model = torchvision.models.get_model(name, weights=None,
                                             **export_models.ARGUMENTS.get(name, {}))
    export_models.randomise(model, side, seed)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return model, export_models.clouds(1, side)


def export(model, picture, form, dynamic, path):
    quiet = contextlib.redirect_stdout(io.StringIO())
    names = {"input_names": ["input"], "output_names": ["output"]}
    with quiet, contextlib.redirect_stderr(io.StringIO()):
        if form == "dynamo":
            torch.onnx.export(model, (picture,), str(path), dynamo=True, external_data=False,
                              **names)
        else:
            axes = {"input": {0: "batch"}, "output": {0: "batch"}} if dynamic else None
            torch.onnx.export(model, (picture,), str(path), dynamo=False, dynamic_axes=axes,
                              opset_version=int(form), **names)


def camlucida(arguments, *words):
    done = subprocess.run([arguments.camlucida, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout


def middle_layer(arguments, path, model):
    """The layer nearest to half-way whose name the file kept, as module name, or None.

    Convolutions are left out: exporters fold the norm behind into them, under the same name.
    """
    layers = json.loads(camlucida(arguments, "inspect", path, "--layers", "--json"))["layers"]
    modules = dict(model.named_modules())
    found = []
    for position, layer in enumerate(layers):
        known = [alias for alias in layer["aliases"]
                 if alias in modules and not isinstance(modules[alias], nn.Conv2d)]
        if layer["on_path"] and layer["dominates"] and known and layer["shape"][2] > 1:
            found.append((abs(position - len(layers) / 2), min(known, key=len)))
    return min(found)[1] if found else None


def pytorch(model, picture, layer, index=None):
    """Outputs, class, and its map at `layer` (None: at the picture), in the picture's precision."""
    model = copy.deepcopy(model).to(picture.dtype)
    taken = []

    def keep(module, inputs, output):
        output.retain_grad()
        taken.append(output)

    picture = picture.clone().requires_grad_()
    handle = model.get_submodule(layer).register_forward_hook(keep) if layer else None
    scores = model(picture)
    if handle:
        handle.remove()
    if index is None:
        index = int(scores[0].flatten().argmax())
    scores.flatten()[index].backward()
    value = taken[-1] if layer else picture
    product = (value.grad * value).sum(1)[0]
    return scores.detach().numpy(), index, product.detach().numpy()


def ours(arguments, path, picture, index, layer, folder):
    np.save(folder / "picture.npy", picture.numpy())
    method = "hirescam" if layer else "gradxinput"
    words = ["-t", layer] if layer else []
    camlucida(arguments, "explain", "-m", path, folder / "picture.npy", "--method", method, "-c",
              index, *words, "-o", folder / "out", "--format", "raw,json", "--force", "--quiet")
    scores = json.loads(camlucida(arguments, "predict", "-m", path, folder / "picture.npy", "-k",
                                  1000000, "--json", "--quiet"))
    ranking = scores["inputs"][0]["prediction"] if "inputs" in scores else scores["prediction"]
    logits = np.zeros(len(ranking))
    for entry in ranking:
        logits[entry["class"]] = entry["logit"]
    return logits, np.load(next((folder / "out").glob("*.raw.npy")))


def deviation(value, reference):
    value, reference = np.ravel(value), np.ravel(reference)
    if value.shape != reference.shape:
        raise RuntimeError(f"{value.size} values instead of {reference.size}")
    return float(np.abs(value - reference).max() / np.abs(reference).max())


def run(arguments, name, form, dynamic, folder):
    """Name and figures of the comparison, None where the exporter refuses the network."""
    model, picture = build(name, arguments.seed)
    path = folder / "model.onnx"
    try:
        export(model, picture, form, dynamic, path)
    except Exception:  # whatever the exporter has against this network
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    runtime = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    theirs = runtime.run(None, {runtime.get_inputs()[0].name: picture.numpy()})[0]
    layer = middle_layer(arguments, path, model)
    exact, index, product = pytorch(model, picture.double(), layer)
    single, _, single_product = pytorch(model, picture, layer, index)
    logits, raw = ours(arguments, path, picture, index, layer, folder)
    return {"runtime": deviation(logits, theirs), "outputs": deviation(logits, exact),
            "own outputs": deviation(single, exact), "map": deviation(raw, product),
            "own map": deviation(single_product, product), "layer": layer}


def line(name, results, refused):
    worst = {key: max(r[key] for r in results.values())
             for key in ("runtime", "outputs", "own outputs", "map", "own map")}
    layers = sorted({f"`{r['layer']}`" if r["layer"] else "picture" for r in results.values()})
    files = ", ".join(results) + (f"; not exported: {', '.join(refused)}" if refused else "")
    return (f"| {name} | {files} | {worst['runtime']:.1e} | "
            f"{worst['outputs']:.1e} ({worst['own outputs']:.1e}) | "
            f"{worst['map']:.1e} ({worst['own map']:.1e}) | {', '.join(layers)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="torchvision names, timm/NAME")
    parser.add_argument("--camlucida", required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)

    print("| network | exports | ONNX Runtime | PyTorch | map | at |")
    print("|---|---|---:|---:|---:|---|")
    for name in arguments.names or TORCHVISION + [f"timm/{name}" for name in TIMM]:
        results, refused = {}, []
        for form, dynamic in EXPORTS:
            what = form + (" free batch" if dynamic else "")
            with tempfile.TemporaryDirectory() as folder:
                try:
                    result = run(arguments, name, form, dynamic, pathlib.Path(folder))
                except RuntimeError as error:
                    print(f"{name}, {what}: {error}", file=sys.stderr)
                    continue
            if result is None:
                refused.append(what)
            else:
                results[what] = result
        if results:
            print(line(name, results, refused), flush=True)


if __name__ == "__main__":
    main()
