#!/usr/bin/env python3
"""Times Camlucida against ONNX Runtime's CPU provider, side by side in one run.

    python3 bench/peers/compare.py --camlucida build/tools/camlucida --models /tmp/models \\
        --threads 1 --runs 20 --rounds 5

For every model both engines take turns, `--rounds` times: `--runs` runs in a `camlucida bench`
process, then as many of ONNX Runtime, each after three that do not count and each on noise of the
model's input size. A drift of the machine's clock thus meets both. The table holds the median of
the rounds' medians and the median (and range) of the rounds' ratios; a ratio above 1 means that
Camlucida is faster. Both engines also classify one seeded input; the last column is the largest
difference of a logit relative to the largest logit. On a busy machine only the ratios mean much.

Needs onnxruntime and numpy. Without --camlucida only ONNX Runtime is timed.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort


def peer_session(path, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def peer_median(session, feed, runs):
    for _ in range(3):
        session.run(None, feed)
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        session.run(None, feed)
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def camlucida(command):
    """Runs the program and returns its JSON, or raises RuntimeError with its own message."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")
    return json.loads(done.stdout)


def find(value, key):
    """First value of `key` anywhere in a JSON document, or None."""
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            found = find(item, key)
            if found is not None:
                return found
    return None


def difference(program, path, tensor, expected):
    """Largest difference of a logit over the largest logit; None if not all logits come back."""
    command = [program, "predict", "-m", path, tensor, "-k", expected.size, "--json"]
    answer = find(camlucida(list(map(str, command))), "prediction")
    if answer is None or len(answer) != expected.size:
        return None
    logits = np.empty(expected.size)
    logits[[entry["class"] for entry in answer]] = [entry["logit"] for entry in answer]
    return np.abs(logits - expected).max() / np.abs(expected).max()


def compare(path, arguments, scratch):
    """One table row: model, our ms, peer's ms, ratio, range of ratios, difference."""
    session = peer_session(path, arguments.threads)
    source = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in source.shape]
    picture = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    tensor = scratch / "input.npy"
    np.save(tensor, picture)
    feed = {source.name: picture}

    ours, peers = [], []
    bench = [arguments.camlucida, "bench", "-m", str(path), "--threads", str(arguments.threads),
             "--runs", str(arguments.runs), "--min-time", "0", "--json"]
    for _ in range(arguments.rounds):
        if arguments.camlucida:
            ours.append(find(camlucida(bench), "median_ms"))
        peers.append(peer_median(session, feed, arguments.runs))
    spread = f"{min(peers):.2f}–{max(peers):.2f}"
    row = [path.stem, "-", f"{statistics.median(peers):.2f} ({spread})", "-", "-", "-"]
    if ours:
        ratios = [theirs / own for own, theirs in zip(ours, peers)]
        row[1] = f"{statistics.median(ours):.2f}"
        row[3] = f"{statistics.median(ratios):.2f}"
        row[4] = f"{min(ratios):.2f}–{max(ratios):.2f}"
        expected = session.run(None, feed)[0].reshape(-1)
        error = difference(arguments.camlucida, path, tensor, expected)
        row[5] = "-" if error is None else f"{error:.1e}"
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--camlucida", help="the program to time")
    parser.add_argument("--models", type=pathlib.Path, required=True, help="folder of .onnx files")
    parser.add_argument("--only", nargs="*", help="names of models, without .onnx")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20, help="runs of each engine per round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    paths = sorted(p for p in arguments.models.glob("*.onnx")
                   if not arguments.only or p.stem in arguments.only)
    if not paths:
        sys.exit(f"{arguments.models}: no .onnx file to compare; see export_models.py")
    print(f"ONNX Runtime {ort.__version__}, {arguments.threads} thread(s), {arguments.rounds} "
          f"rounds of {arguments.runs} runs; median ms\n")
    print("| model | Camlucida | ONNX Runtime (range) | ratio | range of ratios | difference |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        for path in paths:
            try:
                row = compare(path, arguments, pathlib.Path(scratch))
            except (RuntimeError, ValueError) as error:
                failed = True
                row = [path.stem, f"failed: {error}"] + ["-"] * 4
            print("| " + " | ".join(row) + " |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
