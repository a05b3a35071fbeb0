"""Turns the results of gpu_check.py into one JSON file and one page of tables."""

import json
import math
import statistics


def write(report, folder):
    bench = report["parts"].get("bench", {})
    if "rows" in bench:
        bench["rows"] = latest(bench["rows"])
        add_floors(bench["rows"])
    (folder / "gpu_check.json").write_text(json.dumps(finite(report), indent=1) + "\n")
    (folder / "gpu_check.md").write_text("\n".join(page(report)) + "\n")


def finite(value):
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def latest(rows):
    """Of rows with the same key the last, in the order of the first."""
    kept = {}
    for number, row in enumerate(rows):
        key = tuple(row.get(k) for k in ("kind", "network", "batch", "precision", "method", "name"))
        kept[number if row["kind"] == "failure" else key] = row
    return list(kept.values())


def add_floors(rows):
    """The least time of every run: each step limited by the ceiling of copies or of products."""
    ceilings = {row["name"]: row.get("flops", row.get("bytes_per_second"))
                for row in rows if row["kind"] == "ceiling"}
    for row in rows:
        peak = ceilings.get(row.get("precision"))
        if row["kind"] != "network" or not peak or "copy" not in ceilings or "steps" not in row:
            continue
        row["floor_ms"] = 1e3 * sum(max(2 * macs / peak, moved / ceilings["copy"])
                                    for macs, moved, *_ in row["steps"])


def median(values):
    return statistics.median(values) if values else None


def ratio(row, name):
    """Median of the rounds' ratios of a peer's time to ours; a peer may have joined later."""
    theirs = row.get(name) or []
    mine = row["camlucida_ms"][-len(theirs):]
    return median([b / a for a, b in zip(mine, theirs)]) if theirs else None


def text(value, form="{:.3g}"):
    return "" if value is None else form.format(value)


def table(titles, rows):
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
    yield ""


def page(report):
    parts = report["parts"]
    yield "# GPU check"
    yield ""
    facts = parts.get("facts", {})
    gpus = facts.get("camlucida", {}).get("gpus", [])
    yield (f"{report['started']}, device {report['device']}"
           + "".join(f"; {gpu['device']} {gpu['name']}, {gpu['driver']}" for gpu in gpus)
           + f"; {report.get('seconds', 0)} s")
    for name in ("nvidia_smi", "torch", "nvcc", "compute_sanitizer"):
        if name in facts:
            yield f"{name}: {facts[name] or 'not there'}  "
    yield ""
    yield from table(["part", "status", "seconds", ""],
                     [(name, part["status"], part.get("seconds", ""), part.get("message", ""))
                      for name, part in parts.items()])
    yield from tests(parts)
    yield from maps(parts.get("methods", {}).get("maps", []))
    yield from sanitizer(parts.get("sanitizer", {}).get("tools", {}))
    yield from bench(parts.get("bench", {}).get("rows", []))


def tests(parts):
    suites = [(name, suite) for part in ("layers", "golden")
              for name, suite in parts.get(part, {}).get("programs", {}).items()]
    if not suites:
        return
    yield "## Tests"
    yield ""
    yield from table(["program", "tests", "failed", "skipped", "processes stopped for time", "crashed"],
                     [(name, s["tests"], len(s["failed"]), s["skipped"], s["stopped"], s["broken"])
                      for name, s in suites])
    for name, suite in suites:
        for failure in suite["failed"][:20]:
            yield f"- {name}: `{failure.splitlines()[0][:200]}`"
    yield ""


def maps(rows):
    if not rows:
        return
    yield "## Maps against the processor's"
    yield ""
    by_method = {}
    for row in rows:
        by_method.setdefault(row["method"], {}).setdefault(row["precision"], []).append(row)
    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    lines = []
    for method, found in by_method.items():
        any_row = next(iter(found.values()))[0]
        search = any_row["less_gain"] is not None
        line = [method + (" *" if any_row["jumps"] else " †" if search else "")]
        for precision in precisions:
            same = found.get(precision, [])
            if not same:
                line.append("")
                continue
            worst = max(row["deviation"] for row in same)
            rank = min(row["rank"] for row in same)
            fails = "" if all(row["passed"] for row in same) else " **over**"
            gain = 1 - max(row["less_gain"] for row in same) if search else None
            line.append(f"{worst:.1e}, gain {gain:.3f}{fails}" if search
                        else f"{worst:.1e}, {rank:.5f}{fails}")
        lines.append(line)
    yield ("Largest difference over the largest value, and rank correlation, of the raw maps. * jumps where "
           "rounding moves a rectifier to its other side: wider limits. † a search, whose map rounding decides: "
           "difference of the losses of its first steps, and what it gains as a share of what the processor "
           "gains (map_agreement.py).")
    yield ""
    yield from table(["method", *precisions], lines)


def sanitizer(tools):
    if not tools:
        return
    yield "## compute-sanitizer"
    yield ""
    yield from table(["tool", "runs", "findings", "in kernels or calls of ours", "shares of the tests"],
                     [(name, r["runs"], r["errors"], r["ours"], r["shards"])
                      for name, r in tools.items()])
    for name, result in tools.items():
        for example in result["broken"] + result["examples"][:2]:
            yield f"- {name}: `{example.splitlines()[0][:160]}`"
    yield ""


def bench(rows):
    ceilings = [row for row in rows if row["kind"] == "ceiling"]
    if ceilings:
        yield "## Ceilings, measured in PyTorch"
        yield ""
        yield from table(["what", ""], [
            (row["name"], f"{row['bytes_per_second'] / 1e12:.2f} TB/s" if "flops" not in row else
             f"{row['flops'] / 1e12:.0f} TFLOP/s") for row in ceilings])
    networks = [row for row in rows if row["kind"] == "network"]
    if networks:
        yield "## Networks"
        yield ""
        yield ("Medians of the rounds in ms; ratios above 1: Camlucida is faster; share = time that the "
               "ceilings allow for the steps of the plan, of the time taken.")
        yield ""
        yield from table(
            ["network", "batch", "precision", "Camlucida", "images/s", "share", "eager fp16", "ratio",
             "compiled fp16", "ratio", ""], map(network_line, networks))
    accuracy = [row for row in rows if row["kind"] == "accuracy"]
    if accuracy:
        yield "## Outputs against PyTorch in double"
        yield ""
        yield from table(["network", "precision", "difference", "PyTorch in fp16", "same class"],
                         [(r["network"], r["precision"], f"{r['difference']:.1e}",
                           f"{r['peer_fp16']:.1e}", "yes" if r["same_class"] else "no")
                          for r in accuracy])
    methods = [row for row in rows if row["kind"] == "method"]
    if methods:
        yield "## Methods"
        yield ""
        yield from table(["network", "method", "precision", "Camlucida ms", "peer ms", "ratio",
                          "correlation of the maps", ""],
                         [(r["network"], r["variant"], r["precision"], text(median(r["camlucida_ms"])),
                           text(median(r["peer_ms"])), text(ratio(r, "peer_ms"), "{:.2f}"),
                           text(r.get("correlation"), "{:.4f}"), r["note"]) for r in methods])
    for row in rows:
        if row["kind"] == "failure":
            yield f"- not measured: {row['part']} {row['of']}: {row['message'][:200]}"


def network_line(row):
    mine = median(row["camlucida_ms"])
    floor = row.get("floor_ms")
    note = row["note"]
    if row.get("host_steps"):
        note += f"{'; ' if note else ''}{row['host_steps']} steps on the host"
    return (row["network"], row["batch"], row["precision"], text(mine),
            text(1e3 * row["batch"] / mine, "{:.0f}"),
            text(100 * floor / mine if floor else None, "{:.0f} %"),
            text(median(row["eager_ms"])), text(ratio(row, "eager_ms"), "{:.2f}"),
            text(median(row["compiled_ms"])), text(ratio(row, "compiled_ms"), "{:.2f}"), note)
