#!/usr/bin/env python3
"""Runs 5-way one-shot episodes with `camlucida pair` and checks the sum rule of their maps.

    python3 bench/few_shot.py --camlucida build/bin/camlucida --model relationnet_omniglot/model.onnx \\
        --set omniglot/index.json

The picture set is Omniglot's one-shot evaluation as one grey picture of 28 x 28 tiles: row 2r holds
the training items of run r, row 2r + 1 its test items; `oneshot_answers_data[r][test item]` in the
index is the training item of the same character. The twenty characters of a run are dealt into four
episodes of five. Prints how many queries find their character, with the 95 % interval over
episodes, and how far the stored maps of `similarity` sum from the cosine.

Needs numpy and Pillow.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile

import numpy as np
from PIL import Image

SIDE, RUNS, CHARACTERS, WAYS = 28, 20, 20, 5


def tile(sheet, row, column):
    left, top = SIDE * column, SIDE * row
    return sheet.crop((left, top, left + SIDE, top + SIDE))


def compare(arguments, query, support, out):
    """The ranking of the characters, best first, and the error of the best one's sum."""
    words = [arguments.camlucida, "pair", "-m", arguments.model, query, "--support", support,
             "--embedding", arguments.embedding, "--method", "similarity", "-o", out, "--json",
             "--quiet", "--force"]
    answer = json.loads(subprocess.run([str(w) for w in words], capture_output=True, text=True,
                                       check=True).stdout)
    best = answer["ranking"][0]
    sums = [np.load(file).astype(np.float64).sum()
            for file in out.glob(f"{pathlib.Path(best['json']).stem}.similarity.*.raw.npy")]
    assert sums, "no maps were written"
    return best["name"], max(abs(value - best["similarity"]) for value in sums)


def episode(arguments, sheet, answers, run, characters, folder):
    support = folder / "support"
    for character in characters:
        (support / str(character)).mkdir(parents=True)
        tile(sheet, 2 * run, character).save(support / str(character) / "shot.png")
    right, errors = [], []
    for item, character in enumerate(answers[run]):
        if character not in characters:
            continue
        query = folder / f"query{item}.png"
        tile(sheet, 2 * run + 1, item).save(query)
        name, error = compare(arguments, query, support, folder / "maps")
        right.append(name == str(character))
        errors.append(error)
    return right, errors


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camlucida", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--set", required=True, type=pathlib.Path, help="index.json of the set")
    parser.add_argument("--embedding", default="flat")
    arguments = parser.parse_args()

    sheet = Image.open(arguments.set.parent / "oneshot28.png")
    answers = json.loads(arguments.set.read_text())["oneshot_answers_data"]
    shuffled = random.Random(1)
    shares, count, worst = [], 0, 0.0
    for run in range(RUNS):
        order = list(range(CHARACTERS))
        shuffled.shuffle(order)
        for begin in range(0, CHARACTERS, WAYS):
            with tempfile.TemporaryDirectory() as folder:
                right, errors = episode(arguments, sheet, answers, run, order[begin:begin + WAYS],
                                        pathlib.Path(folder))
            shares.append(np.mean(right))
            count += sum(right)
            worst = max(worst, *errors)
    interval = 1.96 * np.std(shares) / np.sqrt(len(shares))
    print(f"{count} of {len(shares) * WAYS} queries right in {len(shares)} episodes of {WAYS} ways, "
          f"{100 * np.mean(shares):.1f} +- {100 * interval:.1f} %; "
          f"maps sum to the cosine within {worst:.1e}")


if __name__ == "__main__":
    main()
