#!/usr/bin/env python3
"""Times Camlucida on a GPU against PyTorch on the same GPU, side by side in one run.

    python3 bench/peers/gpu.py --camlucida build/bin/camlucida --seconds 240 --out gpu.jsonl

Networks: seeded random weights (export_models.py), exported with a free batch size. Per network and
batch the engines take turns: Camlucida in fp16, PyTorch in fp16 with channels last, eager
(cudnn.benchmark on), and torch.compile(mode="max-autotune"). A run starts with the pictures in the
GPU's memory and ends when the GPU is done; a row holds the medians of the rounds. The outputs are
compared with PyTorch in double, so that a fast wrong answer cannot win. Then Camlucida alone in the
other precisions, and the methods against pytorch-grad-cam where it can be imported (--decomcam and
--opticam as in explain.py). Ceilings: a copy on the device and large matrix products in PyTorch.

Every result is a line of JSON in --out as soon as it is there; of two lines with the same key the
later one counts. What does not fit into --seconds is left out and named. Needs PyTorch 2.
"""

import argparse
import copy
import json
import multiprocessing
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings

import numpy as np
import torch

import explain
import export_models

PRECISIONS = ["fp32", "tf32", "bf16"]  # fp16 is what PyTorch is compared in
COMPILE_SECONDS = 25  # what is left at least when a compilation starts
ROUNDS = 3
METHODS = ["gradcam", "scorecam", "ablationcam", "opticam", "decomcam"]


class Task:
    """What a child process needs: arguments, a time by which it must be done, where results go."""

    def __init__(self, arguments, deadline, connection):
        self.arguments, self.deadline, self.connection = arguments, deadline, connection
        self.device = torch.device(arguments.torch_device)
        self.half = torch.float16 if self.device.type == "cuda" else torch.float32
        torch.set_num_threads(os.cpu_count())
        torch.backends.cudnn.benchmark = True

    def left(self):
        return self.deadline - time.time()

    def send(self, **row):
        self.connection.send(row)

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def timed(self, run, least=5):
        """Median milliseconds of `run`, after three runs that do not count."""
        for _ in range(3):
            run()
        self.wait()
        times, end = [], time.perf_counter() + self.arguments.run_seconds
        while len(times) < least or time.perf_counter() < end:
            begin = time.perf_counter()
            run()
            self.wait()
            times.append(1e3 * (time.perf_counter() - begin))
        return statistics.median(times)


def program(arguments, *words):
    done = subprocess.run([arguments.camlucida, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout


def ours(arguments, path, precision, *words):
    """What `camlucida bench` says."""
    return program(arguments, "bench", "-m", path, "--device", arguments.device, "--precision",
                   precision, "--runs", 5, "--warmup", 3, "--min-time", arguments.run_seconds,
                   "--json", *words)


def ceilings(task, arguments):
    """Bytes per second of a copy, multiply-adds twice per second of matrix products."""
    cuda = task.device.type == "cuda"
    count = (1 << 30) if cuda else (1 << 22)
    source = torch.empty(count, dtype=torch.uint8, device=task.device)
    target = torch.empty_like(source)
    milliseconds = task.timed(lambda: target.copy_(source))
    task.send(kind="ceiling", name="copy", bytes_per_second=2 * count / (1e-3 * milliseconds))
    size = 8192 if cuda else 256
    for precision, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16),
                             ("tf32", torch.float32), ("fp32", torch.float32)):
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        a, b = (torch.randn(size, size, device=task.device).to(dtype) for _ in range(2))
        milliseconds = task.timed(lambda: a @ b, least=3)
        task.send(kind="ceiling", name=precision, flops=2 * size ** 3 / (1e-3 * milliseconds))


def measure_network(task, name, network, path, side):
    arguments = task.arguments
    accuracy(task, name, network, path, side)
    half = copy.deepcopy(network).to(task.device, task.half, memory_format=torch.channels_last)
    rows = {}
    for batch in arguments.batches:
        picture = torch.randn(batch, 3, side, side, device=task.device, dtype=task.half)
        picture = picture.to(memory_format=torch.channels_last)
        row = {"kind": "network", "network": name, "batch": batch, "precision": "fp16",
               "camlucida_ms": [], "eager_ms": [], "compiled_ms": [], "note": ""}
        rows[batch] = (row, picture)
        take_turns(task, row, path, half, None, picture)
        task.send(**row)
    for batch in arguments.batches:
        row, picture = rows[batch]
        if arguments.no_compile or task.left() < COMPILE_SECONDS:
            row["note"] = "torch.compile left out" + ("" if arguments.no_compile else ": no time")
            task.send(**row)
            continue
        try:
            torch._dynamo.reset()
            compiled = torch.compile(half, mode=arguments.compile_mode, dynamic=False)
            begin = time.time()
            with torch.inference_mode():
                compiled(picture)
            row["compile_seconds"] = time.time() - begin
            for _ in range(ROUNDS - 1):
                take_turns(task, row, path, half, compiled, picture)
        except Exception as error:  # whatever the compiler has against this network
            row["note"] = f"torch.compile failed: {type(error).__name__}"
        task.send(**row)


def take_turns(task, row, path, eager, compiled, picture):
    """One round: each engine once."""
    bench = ours(task.arguments, path, "fp16", "--batch", row["batch"], "--layers")
    row["camlucida_ms"].append(bench["median_ms"])
    row.update(facts_of(bench))
    with torch.inference_mode():
        row["eager_ms"].append(task.timed(lambda: eager(picture)))
        if compiled is not None:
            row["compiled_ms"].append(task.timed(lambda: compiled(picture)))


def facts_of(bench):
    """What the report needs beside the times: what a run has to move and to compute at least."""
    steps = [[s["multiply_adds"], s["traffic_bytes"], s["ms"], s["operation"], s["kernel"]]
             for s in bench["steps"]]
    return {"multiply_adds": bench["multiply_adds"], "traffic_bytes": bench["traffic_bytes"],
            "gpu_peak_bytes": bench.get("gpu_peak_bytes"), "steps": steps,
            "host_steps": sum(s["host"] for s in bench["steps"])}


def accuracy(task, name, network, path, side):
    """Largest difference of the outputs from PyTorch in double, over the largest output."""
    picture = export_models.clouds(1, side)
    with torch.inference_mode():
        exact = copy.deepcopy(network).to(task.device, torch.float64)(
            picture.to(task.device, torch.float64))[0].cpu().numpy()
        half = copy.deepcopy(network).to(task.device, task.half)(
            picture.to(task.device, task.half))[0].double().cpu().numpy()
    scale = np.abs(exact).max()
    peer = float(np.abs(half - exact).max() / scale)
    with tempfile.TemporaryDirectory() as folder:
        tensor = pathlib.Path(folder) / "picture.npy"
        np.save(tensor, picture.numpy())
        for precision in ["fp16", *PRECISIONS]:
            answer = program(task.arguments, "predict", "-m", path, tensor, "-k", exact.size,
                             "--device", task.arguments.device, "--precision", precision, "--json",
                             "--quiet")
            logits = np.zeros(exact.size)
            for entry in answer["prediction"]:
                logits[entry["class"]] = entry["logit"]
            task.send(kind="accuracy", network=name, precision=precision, peer_fp16=peer,
                      difference=float(np.abs(logits - exact).max() / scale),
                      same_class=bool(logits.argmax() == exact.argmax()))


def measure_methods(task, name, network, path, side):
    """Our methods in every precision, and the Python programs where they are at hand."""
    arguments = task.arguments
    tensor = export_models.clouds(1, side)
    network = copy.deepcopy(network).to(task.device)
    with torch.inference_mode():
        index = int(network(tensor.to(task.device))[0].argmax())
    with tempfile.TemporaryDirectory() as folder:
        picture = pathlib.Path(folder) / "picture.npy"
        np.save(picture, tensor.numpy())
        runs, note = peer_runs(task, network, tensor, index)
        for method in METHODS:
            ours_name, settings = explain.OURS[method]
            words = ["--method", ours_name, "--input", picture, "-c", index]
            words += [word for setting in settings for word in ("--set", setting)]
            for precision in ("fp32", "tf32", "fp16"):
                row = {"kind": "method", "network": name, "method": method, "variant": ours_name,
                       "precision": precision, "camlucida_ms": [], "peer_ms": [], "note": note}
                try:
                    row["camlucida_ms"].append(
                        ours(arguments, path, precision, *words)["method"]["median_ms"])
                    if method in runs and task.left() > 10:
                        compare_method(task, row, runs[method], path, picture, words)
                    elif not note:
                        row["note"] = "no peer given"
                except Exception as error:  # the other methods are still to come
                    row["note"] = f"{type(error).__name__}: {error}"
                task.send(**row)


def peer_runs(task, network, tensor, index):
    if task.arguments.no_peers:
        return {}, "peers left out"
    names = types.SimpleNamespace(class_index=index, decomcam=task.arguments.decomcam,
                                  opticam=task.arguments.opticam)
    layer = network.get_submodule(task.arguments.module)
    try:
        return explain.peers(names, network, layer, tensor.to(task.device)), ""
    except ImportError:
        return {}, "pytorch-grad-cam cannot be imported here: not compared"


def compare_method(task, row, make, path, picture, words):
    peer = make()
    reference = np.asarray(peer(), np.float64)
    row["peer_ms"].append(task.timed(peer, least=2))
    for _ in range(ROUNDS - 1):
        row["camlucida_ms"].append(
            ours(task.arguments, path, row["precision"], *words)["method"]["median_ms"])
        row["peer_ms"].append(task.timed(peer, least=2))
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"{row['variant'].split('@')[0]}.{w}" if "=" in str(w) else w for w in words[6:]]
        program(task.arguments, "explain", "-m", path, picture, "--method", row["variant"], "-c",
                words[5], "-o", folder, "--format", "map,json", "--quiet", "--device",
                task.arguments.device, "--precision", row["precision"], *settings)
        mine = np.load(next(pathlib.Path(folder).glob("*.map.npy")))
    row["correlation"] = float(np.corrcoef(mine.ravel(), reference.ravel())[0, 1])


def in_child(arguments, seconds, out, work, *rest):
    """Runs work(task, *rest) in a process of its own, which is ended when its time is over."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    deadline = time.time() + seconds

    def run():
        os.setsid()
        receiver.close()
        try:
            work(Task(arguments, deadline, sender), *rest)
        except Exception as error:
            sender.send({"kind": "failure", "part": work.__name__, "of": str(rest[:1]),
                         "message": f"{type(error).__name__}: {error}"})

    child = context.Process(target=run)
    child.start()
    sender.close()
    try:
        while receiver.poll(max(deadline + 1 - time.time(), 0)):
            print(json.dumps(receiver.recv()), file=out, flush=True)
        message = {"kind": "failure", "part": work.__name__, "of": str(rest[0])[:40],
                   "message": f"stopped after {seconds:.0f} s"}
        print(json.dumps(message), file=out, flush=True)
    except EOFError:
        pass  # it is done
    finally:
        if child.is_alive():
            os.killpg(child.pid, signal.SIGKILL)
        child.join()


def other_precisions(arguments, deadline, paths, out):
    for name, path in paths.items():
        for precision in PRECISIONS:
            for batch in arguments.batches:
                row = {"kind": "failure", "part": "bench", "of": f"{name} {precision} {batch}",
                       "message": "no time was left"}
                try:
                    if time.time() < deadline - 5:
                        bench = ours(arguments, path, precision, "--batch", batch, "--layers")
                        row = {"kind": "network", "network": name, "batch": batch,
                               "precision": precision, "camlucida_ms": [bench["median_ms"]],
                               "eager_ms": [], "compiled_ms": [], "note": "", **facts_of(bench)}
                except (RuntimeError, ValueError) as error:
                    row["message"] = str(error)
                print(json.dumps(row), file=out, flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--camlucida", required=True)
    add("--out", type=pathlib.Path, required=True, help="file for the results, a line each")
    add("--seconds", type=float, default=240, help="time for all of it")
    add("--device", default="cuda:0", help="of Camlucida")
    add("--torch-device", default="cuda:0")
    add("--networks", default="resnet50,mobilenet_v2,efficientnet_b0,vgg16")
    add("--batches", default="1,32,256")
    add("--side", type=int, help="of the pictures, if not the usual one")
    add("--module", default="layer4", help="target layer of the first network, for the peers")
    add("--decomcam", help="decom_cam.py of the authors")
    add("--opticam", help="util.py of the authors")
    add("--compile-mode", default="max-autotune")
    add("--no-compile", action="store_true")
    add("--no-peers", action="store_true", help="time no other program's methods")
    add("--run-seconds", type=float, default=0.3, help="per measurement")
    arguments = parser.parse_args()
    arguments.batches = [int(batch) for batch in arguments.batches.split(",")]
    arguments.networks = arguments.networks.split(",")
    return arguments


def main():
    arguments = parse()
    deadline = time.time() + arguments.seconds
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # a process with OpenMP's threads must not fork either
    with tempfile.TemporaryDirectory() as folder, open(arguments.out, "w") as out:
        print(json.dumps({"kind": "torch", "version": torch.__version__,
                          "compile_mode": arguments.compile_mode}), file=out, flush=True)
        in_child(arguments, 30, out, ceilings, arguments)
        paths = {}
        for i, name in enumerate(arguments.networks):
            # Before any child: a process that has used the GPU must not fork.
            network, side = export_models.build(name, 1, arguments.side)
            path = pathlib.Path(folder) / f"{name}.onnx"
            export_models.write(network, export_models.clouds(1, side), path, dynamic=True)
            paths[name] = path
            if i == 0:
                in_child(arguments, 0.25 * (deadline - time.time()), out, measure_methods, name,
                         network, path, side)
            share = (2 if i == 0 else 1) / (len(arguments.networks) - i + (i == 0) + 0.5)
            in_child(arguments, share * (deadline - time.time()), out, measure_network, name,
                     network, path, side)
        other_precisions(arguments, deadline, paths, out)


if __name__ == "__main__":
    sys.exit(main())
