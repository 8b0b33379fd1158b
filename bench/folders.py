"""What a call of a working folder costs: without anything to do, and the first one, whose cost must be linear.

The pairs are files in one source folder, each with a target. Prints the time and the peak memory of `flows folders run`
and of cron's form without work, the time of a first call for several counts of files, and multiples of
`python -c pass`. If the program `snakemake` is found, it makes the same chain of copies, and the ratios are printed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from measure import PYTHON, always, bare, cost, numbers

JOBS = """
jobs:
  - {name: first, source: source, target: middle, flow: copy.yml, mark: true}
  - {name: second, source: middle, target: last, flow: copy.yml, mark: true}
"""
CHILD = "steps: []\n"
#: The same chain for both programs: each file is copied twice.
COPIES = """
jobs:
  - {name: first, source: source, target: middle, script: cp}
  - {name: second, source: middle, target: last, script: cp}
"""
SNAKEFILE = """
NAMES = glob_wildcards("source/{name}.csv").name
rule all:
    input: expand("last/{name}.csv", name=NAMES)
rule first:
    input: "source/{name}.csv"
    output: "middle/{name}.csv"
    shell: "cp {input} {output}"
rule second:
    input: "middle/{name}.csv"
    output: "last/{name}.csv"
    shell: "cp {input} {output}"
"""
COPIED = 10
FLOWS = (PYTHON, "-P", "-m", "scflows")


def main() -> None:
    (pairs,) = numbers(__doc__, PAIRS=10_000)
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "CRONTAB_PROGRAM": "none",
            "FLOW_TIMEOUT_SECONDS": "3600",
        }
        base = bare(environment)
        print(f"python -c pass                 {base.cpu:7.3f} s  {base.peak:5.1f} MiB")
        work = Path(folder, "work")
        make(work, 0, pairs)
        cost(lambda n: (*FLOWS, "manual-schedule", "--folder", str(work), "--overwrite"), environment, runs=1)
        # A file that was changed just now is not kept as checked yet.
        time.sleep(2.2)
        cost(lambda n: (*FLOWS, "folders", "run", str(work)), environment, runs=1)
        first = int(time.time()) // 60 * 60 - 86400
        state = f"{folder}/state/scflows"
        cron = (*FLOWS, "run", f"{work}/config.yml", "--task", "work", "--state", state, "--slot")
        quiet = {
            f"{pairs:,} pairs, by hand": cost(lambda n: (*FLOWS, "folders", "run", str(work)), environment),
            f"{pairs:,} pairs, by cron": cost(lambda n: (*cron, str(first + n * 60)), environment),
        }
        for name, each in quiet.items():
            print(f"{name:<30} {each.cpu:7.3f} s  {each.peak:5.1f} MiB  {each.cpu / base.cpu:5.2f} x")
        for count in (pairs // 40, pairs // 20, pairs // 10):
            new = Path(folder, f"new-{count}")
            make(new, count, 0)
            each = cost(partial(once, new), environment, runs=1)
            each_target = each.cpu / count / 2 * 1000
            name = f"first call, {count:,} files"
            print(f"{name:<30} {each.cpu:7.3f} s  {each.peak:5.1f} MiB  {each_target:5.2f} ms a target")
        snakemake = shutil.which("snakemake")
        if snakemake is None:
            print("snakemake is not installed; not compared")
        else:
            compare(Path(folder), environment, snakemake)


def after(warm: Sequence[str], command: Sequence[str], number: int) -> Sequence[str]:
    """The command, after one that only warms up the caches."""
    return warm if number < 0 else command


def compare(folder: Path, environment: dict[str, str], snakemake: str) -> None:
    """Print what the same chain costs with both programs: the first call, and one without work."""
    costs = {}
    for name in ("flows", "snakemake"):
        work = folder / f"with-{name}"
        make(work, COPIED, 0)
        (work / "config.yml").write_text(COPIES)
        (work / "Snakefile").write_text(SNAKEFILE)
        for path in (work / "source").iterdir():
            path.rename(path.with_name(path.name.replace(" ", "-")))
        call = (*FLOWS, "folders", "run", str(work))
        command = call if name == "flows" else (snakemake, "--cores", "1", "--quiet", "all", "--directory", str(work))
        version = (*FLOWS, "--version") if name == "flows" else (snakemake, "--version")
        first = cost(partial(after, version, command), environment, 1, str(work))
        time.sleep(2.2)
        costs[name] = first, cost(always(*command), environment, 5, str(work))
    for title, ours, other in zip(("first call", "without work"), costs["flows"], costs["snakemake"], strict=True):
        name = f"{title}, {COPIED} files"
        print(f"{name:<30} {ours.cpu:7.3f} s  snakemake {other.cpu:7.3f} s, {other.cpu / ours.cpu:.1f} times as much")


def make(work: Path, sources: int, pairs: int) -> None:
    """Make a working folder with `sources` that have no target yet, and `pairs` that have theirs in both jobs."""
    for name in ("source", "middle", "last"):
        (work / name).mkdir(parents=True)
    (work / "config.yml").write_text(JOBS)
    (work / "copy.yml").write_text(CHILD)
    for number in range(sources):
        (work / "source" / f"file {number}.csv").touch()
    for number in range(pairs):
        for name in ("source", "middle", "last"):
            (work / name / f"file {number}.csv").touch()


def once(work: Path, number: int) -> tuple[str, ...]:
    """Return the first call; the warm-up before it (number -1) only prints the version."""
    return (*FLOWS, "--version") if number < 0 else (*FLOWS, "folders", "run", str(work))


if __name__ == "__main__":
    main()
