#!/usr/bin/env python3
"""Fills the generated tables of docs/methods.md.

    for test in build/bin/golden_*_test; do "$test"; done | grep MEASURED > measured.txt
    tools/methods_doc.py --program build/bin/camlucida --measured measured.txt docs/methods.md

Between `<!-- methods -->` and `<!-- /methods -->` goes what `camlucida methods --json` says, between
`<!-- conformance -->` and `<!-- /conformance -->` the largest deviation from each reference output
over all pictures and layers, from the lines the golden tests print. Without --measured the second
table stays as it is.
"""

import argparse
import json
import pathlib
import re
import subprocess

# Reference entry to the method and variant that is held against it, where the names differ.
COMPARED = {
    "gradcampp": "gradcam++@pytorch-grad-cam",
    "scorecam_official": "scorecam@official",
    "scorecam_jacobgil": "scorecam@pytorch-grad-cam",
    "ablationcam_zero": "ablationcam",
    "decomcam1": "decomcam1@official",
    "decomcam25_p100": "decomcam@official, p=100",
    "decomcam25_p500": "decomcam@official",
    "eigencam": "eigencam@pytorch-grad-cam",
    "fullgrad_jacobgil": "fullgrad@pytorch-grad-cam",
    "fullgrad_official": "fullgrad",
    "fmgcam_intended": "fmgcam",
    "inputxgradient": "gradxinput",
    "integratedgradients": "ig",
    "guidedbp_all": "guidedbackprop",
    "relevancecam_conv10": "relevancecam",
    "shapleycam_logit": "shapleycam",
    "shapleycam_rest": "shapleycam, target rest",
    "opticam_it50": "opticam, 50 steps",
    "opticam_it100": "opticam",
    "cosine": "fam",
    "euclid_maxminus": "fam, Euclidean, maxminus",
    "euclid_negative": "fam, Euclidean, negative",
    "euclid_oneminusmm": "fam, Euclidean, oneminusmm",
    "euclid_reciprocal": "fam, Euclidean, reciprocal",
    "similarity_decomposition": "similarity",
    "bilinear": "similarity, correspondence",
    "gradcam_of_cosine": "gradcam, target embed",
    "embedding": "pair --support, the prototype",
}
# Lines of the same tests that are about something else: networks, gradients to inner layers, metrics.
OTHERS = re.compile(r"item|tap\d|p,|road|rise_|stable_|imputed")
LINE = re.compile(r"\[ MEASURED \] (\S+) (\S+) (\S+): (\S+) of (\S+) allowed")


def methods_table(program):
    methods = json.loads(subprocess.run([program, "methods", "--json"], check=True,
                                        capture_output=True, text=True).stdout)
    lines = ["| method | map | forwards | backwards | variants | source |", "|---|---|---|---|---|---|"]
    for method in sorted(methods, key=lambda m: m["name"]):
        variants = "; ".join(f"`@{v['name']}` {v['difference']}".strip()
                             for v in method["variants"]) if len(method["variants"]) > 1 else ""
        notes = " (ignores the class)" if method["class_agnostic"] else ""
        cells = [f"`{method['name']}`", f"{method['formula']}{notes}", method["forwards"],
                 method["backwards"], variants, method["source"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def conformance_table(path):
    worst = {}
    for line in pathlib.Path(path).read_text().splitlines():
        found = LINE.match(line.strip())
        if not found:
            continue
        place, entry, artefact, deviation, allowed = found.groups()
        if OTHERS.match(entry):
            continue
        count, _, _, _, excess = worst.get((entry, artefact), (0, 0, 0, "", -1.0))
        ratio = float(deviation) / float(allowed)
        if ratio > excess:
            worst[entry, artefact] = (count + 1, deviation, allowed, place, ratio)
        else:
            worst[entry, artefact] = (count + 1, *worst[entry, artefact][1:])
    lines = ["| reference output | method | artefact | compared | worst | allowed | where |",
             "|---|---|---|---:|---:|---:|---|"]
    for (entry, artefact), (count, deviation, allowed, place, _) in sorted(worst.items()):
        method = COMPARED.get(entry, entry)
        lines.append(f"| {entry} | `{method}` | {artefact} | {count} | {deviation} | {allowed} | "
                     f"{place} |")
    return lines


def replace(text, mark, lines):
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    head, rest = text.split(begin, 1)
    _, tail = rest.split(end, 1)
    return head + begin + "\n" + "\n".join(lines) + "\n" + end + tail


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--measured")
    parser.add_argument("document", type=pathlib.Path)
    arguments = parser.parse_args()
    text = arguments.document.read_text()
    text = replace(text, "methods", methods_table(arguments.program))
    if arguments.measured:
        text = replace(text, "conformance", conformance_table(arguments.measured))
    arguments.document.write_text(text)


if __name__ == "__main__":
    main()
