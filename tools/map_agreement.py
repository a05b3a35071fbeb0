"""Compares two runs of `camlucida explain`: raw maps, and for searches their losses. Needs nothing but
Python 3.8."""

import ast
import json
import math
import pathlib
import struct

# In fp32: largest difference over the largest value. In every other precision: rank correlation.
FP32_DEVIATION = 1e-4
RANK_CORRELATION = 0.999
# A gradient of the picture jumps where rounding moves a rectifier to its other side, and these methods
# show such gradients, or choose between nearly equal rivals.
JUMPING = {"saliency", "inputxgradient", "integratedgradients", "smoothgrad", "guidedbackprop",
           "guidedgradcam", "deconvolution", "finercam"}
JUMPS_FP32_DEVIATION = 2e-2
JUMPS_RANK_CORRELATION = 0.97
# A search by Adam amplifies rounding from step to step: its maps end apart although none is wrong. What
# is well-defined is compared instead. The losses of the first steps, by which score, gradient and step
# are seen: largest difference over the largest of the score and them. And where the search arrives: how
# much less it gains than the reference, as a share of the reference's gain; more is as good.
SEARCHES = {"opticam"}
EARLY_STEPS = 5
EARLY_DEVIATION = {"fp32": 2e-5, "tf32": 4e-3, "fp16": 4e-3, "bf16": 3e-2}
LESS_GAIN = {"fp32": 0.05, "tf32": 0.1, "fp16": 0.1, "bf16": 0.1}


def read_npy(path):
    """Values of a float32 array in C order."""
    data = pathlib.Path(path).read_bytes()
    wide = data[6] > 1
    begin = 12 if wide else 10
    length = struct.unpack("<I" if wide else "<H", data[8:begin])[0]
    header = ast.literal_eval(data[begin:begin + length].decode("latin1"))
    if header["descr"] != "<f4" or header["fortran_order"]:
        raise ValueError(f"{path}: not a float32 array in C order")
    body = data[begin + length:]
    return struct.unpack(f"<{len(body) // 4}f", body)


def deviation(values, reference):
    peak = max((abs(v) for v in reference), default=0)
    worst = max((abs(a - b) for a, b in zip(values, reference)), default=0)
    if math.isnan(worst) or any(math.isnan(v) for v in values):
        return math.inf
    return 0.0 if worst == 0 else worst / peak if peak > 0 else math.inf


def ranks(values):
    """Positions in the order of size, ties sharing their mean."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    result = [0.0] * len(values)
    first = 0
    while first < len(order):
        last = first
        while last + 1 < len(order) and values[order[last + 1]] == values[order[first]]:
            last += 1
        for k in range(first, last + 1):
            result[order[k]] = (first + last) / 2
        first = last + 1
    return result


def rank_correlation(a, b):
    x, y = ranks(a), ranks(b)
    mean = (len(x) - 1) / 2
    xx = sum((v - mean) ** 2 for v in x)
    yy = sum((v - mean) ** 2 for v in y)
    if xx == 0 or yy == 0:
        return 1.0 if xx == yy else 0.0  # constant maps
    return sum((v - mean) * (w - mean) for v, w in zip(x, y)) / math.sqrt(xx * yy)


def explanations(folder):
    report = json.loads(next(pathlib.Path(folder).glob("*.json")).read_text())
    return {(e["method"], e["variant"], e["target"]): e for e in report["explanations"]}


def compare_searches(series, reference):
    """Deviation of the early losses, and the share of the reference's gain that is missing."""
    losses, expected = series["trajectory"], reference["trajectory"]
    original, = reference["original_score"]
    early = [expected[:EARLY_STEPS], losses[:EARLY_STEPS]]
    if not expected or len(early[0]) != len(early[1]):
        return math.inf, math.inf
    apart = max(abs(a - b) for a, b in zip(*early))
    peak = max(abs(value) for value in [original, *early[0]])
    # Of the objective "mask", which is the default: the loss is the score of the whole picture less
    # that of the masked one.
    gain = abs(reference["masked_score"][0] - (original - expected[0]))
    behind = reference["masked_score"][0] - series["masked_score"][0]
    if math.isnan(apart) or math.isnan(behind):
        return math.inf, math.inf
    return (apart / peak if peak > 0 else 0.0 if apart == 0 else math.inf,
            behind / gain if gain > 0 else 0.0 if behind <= 0 else math.inf)


def compare(reference, folder, precision):
    """A row per map of the folder `reference`."""
    rows = []
    others = explanations(folder)
    for key, expected in explanations(reference).items():
        row = {"method": key[0], "precision": precision, "deviation": math.inf, "rank": 0.0,
               "passed": False}
        other = others.get(key)
        if other is not None:
            raw = [read_npy(pathlib.Path(where) / one["files"]["raw"])
                   for where, one in ((folder, other), (reference, expected))]
            if len(raw[0]) == len(raw[1]):
                row["deviation"] = deviation(*raw)
                row["rank"] = rank_correlation(*raw)
        jumps, search = key[0] in JUMPING, key[0] in SEARCHES
        row["less_gain"] = None
        if search:
            row["deviation"], row["less_gain"] = (
                compare_searches(other["series"], expected["series"])
                if other is not None else (math.inf, math.inf))
            row["passed"] = (row["deviation"] <= EARLY_DEVIATION[precision]
                             and row["less_gain"] <= LESS_GAIN[precision])
        elif precision == "fp32":
            row["passed"] = row["deviation"] <= (JUMPS_FP32_DEVIATION if jumps else FP32_DEVIATION)
        else:
            row["passed"] = row["rank"] >= (JUMPS_RANK_CORRELATION if jumps else RANK_CORRELATION)
        row["jumps"] = jumps
        rows.append(row)
    return rows
