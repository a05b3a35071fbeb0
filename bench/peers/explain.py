#!/usr/bin/env python3
"""Times explanation methods against the Python programs people use, side by side in one run.

    python3 bench/peers/explain.py --camlucida build/bin/camlucida --model resnet50.onnx \\
        --input picture.npy --class 281 --layer VALUE --module MODULE \\
        [--decomcam decom_cam.py] [--opticam util.py] --methods gradcam,scorecam --rounds 3

Both sides get the same ONNX file (the peer through onnx2torch), the same preprocessed picture
(float32 [1, 3, H, W]), layer and class, and one thread. They take turns, `--rounds` times; the
table holds the median of each side, the median and range of the rounds' ratios (above 1: Camlucida
is faster) and the correlation of the two final maps, so that a fast wrong answer cannot win.

Peers: pytorch-grad-cam for Grad-CAM, Score-CAM and Ablation-CAM (PyPI: grad-cam); the authors'
programs for DecomCAM (`decom_cam.py` of CapricornGuang/DecomCAM, which runs on pytorch-grad-cam)
and Opti-CAM (`util.py` of hanwei0912/OptiCAM), whose files are given by path. Camlucida runs the
variant that computes what the peer computes. Methods whose peer is not given are left out by name.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import types

import numpy as np
import torch

ITERATIONS = 50
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

# Method: our name@variant and settings that compute what the peer does.
OURS = {
    "gradcam": ("gradcam", []),
    "scorecam": ("scorecam@pytorch-grad-cam", []),
    "ablationcam": ("ablationcam", []),
    "decomcam": ("decomcam@official", []),
    "opticam": ("opticam", [f"iterations={ITERATIONS}", "learning_rate=0.1"]),
}


def load_file(path, name):
    """A program given by path; packages it imports but does not need here are stubbed."""
    sys.modules.setdefault("clip", types.ModuleType("clip"))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Normalised(torch.nn.Module):
    """The network behind its mean and deviation, as Opti-CAM's authors arrange it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, picture):
        return self.network((picture - MEAN.to(picture)) / STD.to(picture))


def peers(arguments, network, layer, tensor):
    """Method name to a function without arguments that returns the final map; the programs run on
    the device of `tensor`.
    """
    import pytorch_grad_cam as library
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    target = [ClassifierOutputTarget(arguments.class_index)]

    def of(make):
        cam = make()
        return lambda: cam(input_tensor=tensor, targets=target)[0]

    runs = {
        "gradcam": lambda: of(lambda: library.GradCAM(network, [layer])),
        "scorecam": lambda: of(lambda: library.ScoreCAM(network, [layer])),
        "ablationcam": lambda: of(lambda: library.AblationCAM(network, [layer])),
    }
    if arguments.decomcam:
        runs["decomcam"] = lambda: of(
            lambda: load_file(arguments.decomcam, "decom_cam").DecomCAM(network, [layer]))
    if arguments.opticam:

        def opticam():
            module = load_file(arguments.opticam, "opticam_util")
            picture = (tensor * STD.to(tensor) + MEAN.to(tensor)).detach()
            label = torch.tensor([arguments.class_index], device=tensor.device)

            def run():
                program = module.Basic_OptCAM(
                    Normalised(network), tensor.device, max_iter=ITERATIONS, learning_rate=0.1,
                    target_layer=[layer], name_loss="plain", name_mode="resnet")
                with contextlib.redirect_stdout(io.StringIO()):
                    answer = program(picture, label)[0]
                program.fea_ext.release()
                return answer[0, 0].detach().cpu().numpy()

            return run

        runs["opticam"] = opticam
    return runs


def program(arguments, *words):
    done = subprocess.run([arguments.camlucida, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout


def our_time(arguments, name, settings, runs):
    words = ["bench", "-m", arguments.model, "--threads", arguments.threads, "--method", name,
             "--input", arguments.input, "-c", arguments.class_index, "-t", arguments.layer,
             "--runs", runs, "--warmup", 1, "--min-time", 0, "--json"]
    for setting in settings:
        words += ["--set", setting]
    return json.loads(program(arguments, *words))["method"]["median_ms"]


def our_map(arguments, name, settings):
    with tempfile.TemporaryDirectory() as folder:
        words = ["explain", "-m", arguments.model, arguments.input, "--method", name, "-c",
                 arguments.class_index, "-t", arguments.layer, "-o", folder, "--format", "map,json",
                 "--quiet"]
        for setting in settings:
            words += ["--set", f"{name.split('@')[0]}.{setting}"]
        program(arguments, *words)
        return np.load(next(pathlib.Path(folder).glob("*.map.npy")))


def peer_time(run, runs):
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--camlucida", required=True)
    add("--model", required=True, help="ONNX file")
    add("--input", required=True, help="preprocessed picture, .npy")
    add("--class", dest="class_index", type=int, required=True)
    add("--layer", required=True, help="value name of the target layer in the ONNX file")
    add("--module", required=True, help="module of the converted network whose output it is")
    add("--methods", default="gradcam,scorecam,ablationcam,decomcam,opticam")
    add("--decomcam", help="decom_cam.py of the authors")
    add("--opticam", help="util.py of the authors")
    add("--threads", type=int, default=1)
    add("--rounds", type=int, default=3)
    add("--runs", type=int, default=3, help="runs per round and side")
    arguments = parser.parse_args()

    import onnx2torch
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    network = onnx2torch.convert(arguments.model).eval()
    layer = network.get_submodule(arguments.module)
    tensor = torch.from_numpy(np.load(arguments.input))
    runs = peers(arguments, network, layer, tensor)

    print(f"{pathlib.Path(arguments.model).stem}, {arguments.threads} thread(s), torch "
          f"{torch.__version__}, {arguments.rounds} rounds of {arguments.runs} runs")
    print("| method | Camlucida ms | peer ms | ratio | range | correlation of the maps |")
    print("|---|---:|---:|---:|---:|---:|")
    for method in arguments.methods.split(","):
        if method not in runs:
            print(f"{method}: its peer was not given, left out", file=sys.stderr)
            continue
        name, settings = OURS[method]
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            try:
                peer = runs[method]()
                reference = np.asarray(peer(), np.float64)  # warms up
            except Exception as error:  # whatever another program throws at this network
                print(f"{method}: the peer failed, {type(error).__name__}: {error}", flush=True)
                continue
            ours, theirs = [], []
            for _ in range(arguments.rounds):
                ours.append(our_time(arguments, name, settings, arguments.runs))
                theirs.append(peer_time(peer, arguments.runs))
        ratios = [b / a for a, b in zip(ours, theirs)]
        correlation = np.corrcoef(our_map(arguments, name, settings).ravel(), reference.ravel())
        print(f"| {method} | {statistics.median(ours):.1f} | {statistics.median(theirs):.1f} | "
              f"{statistics.median(ratios):.1f} | {min(ratios):.1f}-{max(ratios):.1f} | "
              f"{correlation[0, 1]:.4f} |", flush=True)


if __name__ == "__main__":
    main()
