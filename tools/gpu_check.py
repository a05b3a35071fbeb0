"""What tools/gpu_check.sh runs; see there for the arguments. Needs nothing but Python 3.8."""

import argparse
import concurrent.futures
import datetime
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import gpu_report
import map_agreement

HERE = pathlib.Path(__file__).resolve().parent
# Part: its share of eight minutes, in seconds. The last one gets what remains.
PARTS = {"facts": 20, "layers": 100, "methods": 60, "golden": 50, "determinism": 25,
         "sanitizer": 75, "bench": 480}
NO_GPU, INCOMPLETE = 77, 4
PRECISIONS = ["fp32", "tf32", "fp16", "bf16"]
TOOLS = ["memcheck", "racecheck", "initcheck", "synccheck"]
SHARDS = 60  # of the layer tests under compute-sanitizer


class Check:
    def __init__(self, arguments):
        self.arguments = arguments
        self.start = time.time()
        self.deadline = self.start + 60 * arguments.minutes - 8  # the report takes a moment, too
        self.part_ends = self.deadline
        self.out = arguments.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.log = open(self.out / "gpu_check.log", "w")
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="gpu_check-"))
        self.real = arguments.device.startswith("cuda")
        self.environment = dict(os.environ)
        # Tuning results of an earlier run must not decide this one unasked.
        self.environment["XDG_CACHE_HOME"] = str((arguments.cache or self.work / "cache").resolve())
        for name in ("CAMLUCIDA_HOME", "CAMLUCIDA_TEST_GPU"):
            self.environment.pop(name, None)
        if self.real:
            self.environment["CAMLUCIDA_TEST_GPU"] = arguments.device
        if arguments.zoo:
            self.environment["CAMLUCIDA_SHARED"] = str(arguments.zoo.resolve())
        self.report = {"schema": 1, "started": datetime.datetime.now().isoformat(timespec="seconds"),
                       "device": arguments.device, "parts": {}}

    # ---- Running programs -----------------------------------------------------------------------

    def left(self):
        return max(min(self.part_ends, self.deadline) - time.time(), 0)

    def run(self, command, seconds=None, environment=None, folder=None):
        """Exit status (None: stopped for time), standard output and standard error."""
        command = [str(word) for word in command]
        seconds = self.left() if seconds is None else min(seconds, self.left())
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, errors="replace", start_new_session=True,
                                   cwd=folder, env={**self.environment, **(environment or {})})
        try:
            out, err = process.communicate(timeout=seconds)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            code = None
        tail = (out[-20000:] + err[-20000:]) if code != 0 else ""
        self.log.write(f"$ {' '.join(command)}\n{tail}-> {code}\n")
        self.log.flush()
        return code, out, err

    def program(self, *words, seconds=None):
        return self.run([self.arguments.binaries / "camlucida", *words], seconds)

    def device_words(self, precision="fp32"):
        return ["--device", self.arguments.device, "--precision", precision]

    # ---- Parts: each returns a result with a "status" -------------------------------------------

    def facts(self):
        code, out, err = self.program("version", "--json")
        if code != 0:
            return {"status": "failed", "message": err.strip()}
        facts = {"status": "passed", "camlucida": json.loads(out), "processors": os.cpu_count()}
        for name, command in {
                "nvidia_smi": ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,"
                               "clocks.max.sm,clocks.max.mem,power.limit", "--format=csv"],
                "nvcc": ["nvcc", "--version"],
                "compute_sanitizer": ["compute-sanitizer", "--version"],
                "torch": [sys.executable, "-c", "import torch; print(torch.__version__)"]}.items():
            facts[name] = None
            if shutil.which(command[0]):
                code, out, _ = self.run(command, 15)
                facts[name] = out.strip().splitlines()[-1] if code == 0 and out.strip() else None
        return facts

    def layers(self):
        """All tests of the GPU backend, in several processes at once."""
        return self.tests("-*Golden*")

    def golden(self):
        if not self.arguments.zoo:
            return {"status": "missing", "message": "no --zoo with networks and golden outputs"}
        return self.tests("*Golden*")

    def programs(self):
        """The test programs that are there; all tests are in gpu_tests where it is."""
        names = [path for path in sorted(self.arguments.binaries.iterdir())
                 if path.name.startswith(("gpu_", "dnn_", "golden_")) and not path.suffix
                 and path.is_file() and os.access(path, os.X_OK)]
        return [path for path in names if path.name == "gpu_tests"] or names

    def tests(self, filters):
        """Runs GoogleTest programs, a share of the tests per process and core."""
        shards = max(1, (os.cpu_count() or 1) // 2)
        suites = {path.name: {"tests": 0, "failed": [], "skipped": 0, "stopped": 0, "broken": 0}
                  for path in self.programs()}
        if not suites:
            return {"status": "missing", "message": "no test programs beside camlucida"}

        def one(path, shard):
            file = self.work / f"{path.name}.{shard}.json"
            file.unlink(missing_ok=True)
            code, _, _ = self.run(
                [path, f"--gtest_filter={filters}", f"--gtest_output=json:{file}"],
                folder=self.arguments.menagerie.parent.parent, environment={
                    "GTEST_TOTAL_SHARDS": str(shards), "GTEST_SHARD_INDEX": str(shard)})
            return path.name, code, file

        with concurrent.futures.ThreadPoolExecutor(shards) as pool:
            jobs = [pool.submit(one, path, shard)
                    for path in self.programs() for shard in range(shards)]
            for job in jobs:
                name, code, file = job.result()
                if code is None:
                    suites[name]["stopped"] += 1
                elif not file.exists():
                    suites[name]["broken"] += 1
                else:
                    count_tests(json.loads(file.read_text()), suites[name])
        failed = any(suite["failed"] or suite["broken"] for suite in suites.values())
        stopped = any(suite["stopped"] for suite in suites.values())
        tested = sum(suite["tests"] - suite["skipped"] for suite in suites.values())
        status = "failed" if failed else "incomplete" if stopped or not tested else "passed"
        return {"status": status, "programs": suites}

    def methods(self):
        """Every method that fits the network, on the GPU and on the processor."""
        reference = self.explain("cpu", ["--device", "cpu"])
        rows, status = [], "passed"
        for precision in PRECISIONS:
            if precision == "tf32" and not self.real:
                continue  # an emulated GPU does not round to it: fp32 once more
            folder = self.explain(precision, self.device_words(precision))
            if reference is None or folder is None:
                status = "failed" if self.left() > 0 else "incomplete"
                continue
            rows += map_agreement.compare(reference, folder, precision)
        if any(not row["passed"] for row in rows):
            status = "failed"
        return {"status": status, "maps": rows}

    def explain(self, name, words):
        folder = self.work / f"explain-{name}"
        code, _, _ = self.program(
            "explain", "-m", self.model(), self.picture(), "--method", self.arguments.methods,
            "-o", folder, "--format", "raw,map,json", "--quiet", "--force", *words)
        return folder if code == 0 else None

    def model(self):
        return self.arguments.menagerie / "classifier" / "model.onnx"

    def picture(self):
        return sorted((self.arguments.menagerie / "examples").glob("cat-*[0-9].png"))[0]

    def determinism(self):
        """The same command twice, in processes of their own: the same bytes."""
        different = {}
        for precision in ["fp32", "fp16"]:
            first = self.explain(f"{precision}-first", self.device_words(precision))
            second = self.explain(f"{precision}-second", self.device_words(precision))
            if first is None or second is None:
                return {"status": "failed" if self.left() > 0 else "incomplete",
                        "different": different}
            names = sorted(path.name for path in first.glob("*.npy"))
            different[precision] = [n for n in names
                                    if (first / n).read_bytes() != (second / n).read_bytes()]
            different[precision + " compared"] = len(names)
        same = not different["fp32"] and not different["fp16"]
        return {"status": "passed" if same else "failed", "different": different}

    def sanitizer(self):
        """The layer tests and one run of the program under all tools at once, a share at a time."""
        layer_tests = next((path for path in self.programs()
                            if path.name in ("gpu_tests", "gpu_layers_test")), None)
        if layer_tests is None:
            return {"status": "missing", "message": "no layer tests"}

        def one(tool):
            words = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
            result = {"runs": 0, "errors": 0, "ours": 0, "shards": 0, "broken": [], "examples": []}
            run = [self.arguments.binaries / "camlucida", "explain", "-m", self.model(),
                   self.picture(), "--method", "gradcam", "-o", self.work / tool, "--quiet",
                   *self.device_words("fp16")]
            sanitize(self, [*words, *run], {}, result)
            for shard in range(SHARDS):
                if self.left() < 10 or result["errors"] > 50:
                    break
                environment = {"GTEST_TOTAL_SHARDS": str(SHARDS), "GTEST_SHARD_INDEX": str(shard)}
                filters = "--gtest_filter=*GpuLayers.Fp32/*:*GpuLayers.Fp16/*"
                if sanitize(self, [*words, layer_tests, filters], environment, result):
                    result["shards"] += 1
            return result

        with concurrent.futures.ThreadPoolExecutor(len(TOOLS)) as pool:
            results = dict(zip(TOOLS, pool.map(one, TOOLS)))
        ours = any(result["ours"] or result["broken"] for result in results.values())
        ran = all(result["runs"] for result in results.values())
        return {"status": "failed" if ours else "passed" if ran else "incomplete",
                "of_shards": SHARDS, "tools": results}

    def bench(self):
        file = self.work / "bench.jsonl"
        script = next((p for p in (HERE / "gpu.py", HERE.parent / "bench" / "peers" / "gpu.py")
                       if p.exists()))
        command = [sys.executable, script, "--camlucida", self.arguments.binaries / "camlucida",
                   "--out", file, "--seconds", int(self.left() - 5), "--device",
                   self.arguments.device]
        if not self.real:
            command += ["--torch-device", "cpu"]
        command += self.arguments.bench_words
        code, _, err = self.run(command)
        rows = []
        if file.exists():
            for line in file.read_text().splitlines():
                rows.append(json.loads(line))
        if not rows:
            return {"status": "failed", "message": (err.strip().splitlines() or ["stopped"])[-1]}
        failed = [row for row in rows if row["kind"] == "failure"]
        networks = [row for row in rows if row["kind"] == "network"]
        status = "failed" if code not in (0, None) or not networks else "passed"
        if status == "passed" and (failed or code is None):
            status = "incomplete"
        return {"status": status, "rows": rows}

    # ---- All of them ----------------------------------------------------------------------------

    def missing(self, name):
        """What the part cannot do without and what is not there; else nothing."""
        if name == "sanitizer" and not self.real:
            return "needs a real GPU"
        if name == "sanitizer" and not shutil.which("compute-sanitizer"):
            return "no compute-sanitizer"
        if name == "bench":
            lacking = [m for m in ("numpy", "torch") if importlib.util.find_spec(m) is None]
            return f"{sys.executable} has no {' and no '.join(lacking)}" if lacking else ""
        return ""

    def end_of(self, name, possible):
        """When a part must end. What it does not need goes to the benchmarks, which use all there is;
        without them a part may take more than its share, but not from those behind it."""
        behind = possible[possible.index(name) + 1:]
        scale = self.arguments.minutes / 8
        if "bench" in behind:
            return time.time() + PARTS[name] * scale
        return self.deadline - sum(PARTS[other] * scale for other in behind)

    def main(self):
        possible = [name for name in self.arguments.parts if not self.missing(name)]
        for name in self.arguments.parts:
            begin = time.time()
            if name in possible:
                self.part_ends = self.end_of(name, possible)
            if name not in possible:
                result = {"status": "missing", "message": self.missing(name)}
            elif self.left() < 5:
                result = {"status": "incomplete", "message": "no time was left"}
            else:
                result = self.attempt(name)
            result["seconds"] = round(time.time() - begin, 1)
            self.report["parts"][name] = result
            self.report["seconds"] = round(time.time() - self.start, 1)
            gpu_report.write(self.report, self.out)
            print(f"{name:12} {result['status']:10} {result['seconds']:6.1f} s  "
                  f"{result.get('message', '')}", flush=True)
            if name == "facts" and self.real and result["status"] == "passed":
                if not result["camlucida"]["gpus"]:
                    print(f"gpu_check: no GPU: {result['camlucida']['no_gpu_reason']}",
                          file=sys.stderr)
                    return NO_GPU
        print(f"written: {self.out / 'gpu_check.json'} and gpu_check.md")
        states = [part["status"] for part in self.report["parts"].values()]
        return 1 if "failed" in states else INCOMPLETE if set(states) != {"passed"} else 0

    def attempt(self, name):
        try:
            return getattr(self, name)()
        except Exception as error:  # the other parts are still to come
            return {"status": "failed", "message": f"{type(error).__name__}: {error}"}


def count_tests(report, suite):
    for group in report.get("testsuites", []):
        for test in group.get("testsuite", []):
            suite["tests"] += 1
            if test.get("failures"):
                suite["failed"].append(f"{test['classname']}.{test['name']}: "
                                       f"{test['failures'][0]['failure'][:300]}")
            elif test.get("result") == "SKIPPED":
                suite["skipped"] += 1


FINDING = re.compile(r"Invalid |Misaligned |Uninitialized |Race reported|Barrier error|Program hit|"
                     r"Leaked |Unused memory|out of bounds", re.IGNORECASE)


def sanitize(check, command, environment, result):
    """One run under compute-sanitizer, its findings counted. True if it came to its end."""
    code, out, err = check.run(command, environment=environment)
    blocks = re.split(r"^=========\s*$", out + err, flags=re.MULTILINE)
    found = [block for block in blocks if "=========" in block and FINDING.search(block)]
    mine = [block for block in found if "camlucida::" in block]
    result["runs"] += code is not None
    result["errors"] += len(found)
    result["ours"] += len(mine)
    if code not in (0, 9, None) and not found:  # not the tool's own exit status
        result["broken"].append(f"{pathlib.Path(command[5]).name}: exit status {code}")
    result["examples"] += [block.strip()[:600] for block in (mine or found)[:2]]
    del result["examples"][6:]
    return code is not None


def parse():
    parser = argparse.ArgumentParser(prog="tools/gpu_check.sh")
    add = parser.add_argument
    add("--binaries", type=pathlib.Path, required=True)
    add("--out", type=pathlib.Path, default=pathlib.Path("gpu_check"))
    add("--zoo", type=pathlib.Path)
    add("--menagerie", type=pathlib.Path)
    add("--cache", type=pathlib.Path)
    add("--device", default="cuda:0")
    add("--parts", default=",".join(PARTS))
    add("--methods")
    add("--minutes", type=float, default=8)
    add("--dry-run", action="store_true")
    add("bench_words", nargs="*", help="after --: for bench/peers/gpu.py")
    arguments = parser.parse_args()
    arguments.parts = arguments.parts.split(",")
    if arguments.methods is None:  # many passes take an emulated GPU minutes
        arguments.methods = "all" if arguments.device.startswith("cuda") else "all-gradient"
    unknown = [name for name in arguments.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]}; there are {', '.join(PARTS)}")
    if not (arguments.binaries / "camlucida").exists():
        parser.error(f"no program camlucida in {arguments.binaries}")
    arguments.binaries = arguments.binaries.resolve()
    arguments.menagerie = arguments.menagerie.resolve() if arguments.menagerie else None
    if arguments.zoo is None and (HERE / "shared" / "zoo").exists():
        arguments.zoo = HERE / "shared"
    if arguments.menagerie is None:
        places = (HERE / "model_zoo" / "menagerie", HERE.parent / "model_zoo" / "menagerie")
        arguments.menagerie = next((place for place in places if place.exists()), places[0])
    return arguments


def main():
    arguments = parse()
    if arguments.dry_run:
        print(f"binaries   {arguments.binaries}: "
              f"{', '.join(sorted(p.name for p in arguments.binaries.iterdir() if p.is_file()))}")
        for name in arguments.parts:
            bound = "at most" if "bench" in arguments.parts else "at least"
            box = f"{PARTS[name] * arguments.minutes / 8:.0f} s {bound}"
            if name == arguments.parts[-1]:
                box = "what remains"
            print(f"{name:10} {box}")
        return 0
    check = Check(arguments)
    try:
        return check.main()
    finally:
        check.log.close()
        shutil.rmtree(check.work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
