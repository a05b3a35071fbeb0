#!/usr/bin/env python3
"""Compares methods picture by picture in the log of `camlucida evaluate`.

    python3 bench/paired.py scores/evaluation.jsonl --against gradcam --metric insertion_auc

Prints for every other method the mean difference of the metric with its 95 % interval, and on how
many of the pictures the method has the larger value. Pictures where either side has no value are
left out.
"""

import argparse
import json
import math
import pathlib
import statistics


def value(picture, method, metric):
    return picture["results"][method]["metrics"].get(metric, {}).get("value")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=pathlib.Path)
    parser.add_argument("--against", default="gradcam")
    parser.add_argument("--metric", default="insertion_auc")
    arguments = parser.parse_args()

    lines = [json.loads(line) for line in arguments.log.read_text().splitlines()]
    pictures = [line for line in lines if "results" in line]
    for method in pictures[0]["results"]:
        pairs = [(value(p, method, arguments.metric), value(p, arguments.against, arguments.metric))
                 for p in pictures]
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        if method == arguments.against or len(differences) < 2:
            continue
        interval = 1.96 * statistics.stdev(differences) / math.sqrt(len(differences))
        print(f"{method:16} {statistics.mean(differences):+.4f} +- {interval:.4f}, larger on "
              f"{sum(d > 0 for d in differences)} of {len(differences)}")


if __name__ == "__main__":
    main()
