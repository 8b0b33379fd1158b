"""What it costs to process one device, against the same calls in a bare script; then many devices at once."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from measure import PYTHON, numbers

from scflows.integrations.smartcitizen.demo.kinds import _kit
from scflows.integrations.smartcitizen.demo.platform import Platform
from scflows.integrations.smartcitizen.demo.server import serving

NOW = 1_790_000_000
HOURS = 3
#: What somebody writes who needs it once: the calls of `scdata`, in its order, with one piece and no care.
SCRIPT = """
import asyncio, sys
import scdata
device = scdata.Device(params=scdata.APIParams(id=int(sys.argv[1])))
assert device.valid_for_processing
device.options.min_date = device.handler.latest_postprocessing
device.options.limit = 500
device.options.channels = device.required_sensors
assert asyncio.run(device.load())
assert device.process()
assert device.update_postprocessing_date()
assert asyncio.run(device.post(columns="channels", max_retries=3, with_postprocessing=True))
"""
SHIPPED = Path(__file__).parents[1] / "tasks" / "smartcitizen"


def used(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float]:
    """CPU seconds of a command with all it started, and MiB of the largest process."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(runs: int, at_once: int) -> None:
    count = 2 * runs + 2 + at_once
    kits = [_kit(13001 + each, "due", NOW, "demo-kit", NOW - HOURS * 3600) for each in range(count)]
    platform = Platform(kits=kits, clock=lambda: NOW)
    with tempfile.TemporaryDirectory() as name, serving(platform) as server:
        folder = Path(name)
        shutil.copytree(SHIPPED, folder / "tasks" / "smartcitizen")
        script = folder / "bare.py"
        script.write_text(SCRIPT)
        common = {"PATH": os.environ["PATH"], "HOME": name, "CRONTAB_PROGRAM": "none"}
        common |= {"XDG_STATE_HOME": f"{name}/state", "XDG_CACHE_HOME": f"{name}/cache"}
        ours = {**common, **server.settings}
        bare = {**common, "API_URL": ours["SC_API_URL"], "SC_BEARER": ours["SC_BEARER"]}
        bare |= {"BASE_POSTPROCESSING_URL": ours["BASE_POSTPROCESSING_URL"], "XDG_CONFIG_HOME": f"{name}/config"}
        devices = iter(kit.id for kit in kits)
        costs: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
        for number in range(runs + 1):
            pair = (
                ("bare", [PYTHON, str(script), str(next(devices))], bare),
                ("ours", flow(next(devices)), ours),
            )
            for title, command, environment in pair:
                taken = used(command, environment, folder)
                if number:
                    costs[title].append(taken)
        seconds = {title: statistics.median(each[0] for each in found) for title, found in costs.items()}
        peaks = {title: statistics.median(each[1] for each in found) for title, found in costs.items()}
        print(
            f"one device, {HOURS} h: bare script {seconds['bare']:.2f} s of CPU, {peaks['bare']:.0f} MiB;"
            f" `flows run` {seconds['ours']:.2f} s, {peaks['ours']:.0f} MiB;"
            f" ratio {seconds['ours'] / seconds['bare']:.2f}"
        )
        together(platform, [next(devices) for _ in range(at_once)], ours, folder)


def flow(device: int) -> list[str]:
    return [PYTHON, "-P", "-m", "scflows", "run", "smartcitizen/process.yml", "-p", f"device={device}", "--json"]


def together(platform: Platform, devices: list[int], environment: dict[str, str], folder: Path) -> None:
    """Start all at once, with nothing known of the file host."""
    shutil.rmtree(folder / "state", ignore_errors=True)
    platform.requests.clear()
    configuration = folder / "config" / "scdata" / "config.yaml"
    configuration.write_text("# somebody's own\n")
    begun = time.perf_counter()
    # Each as its task: two runs of one flow by hand would wait for each other's end.
    started = []
    for device in devices:
        own = {**environment, "MAX_RUNS": str(len(devices)), "LOCK_PATH": str(folder / "locks" / str(device))}
        started.append(subprocess.Popen(flow(device), cwd=folder, env=own, stdout=subprocess.PIPE))
    answers = [json.loads(process.communicate()[0]) for process in started]
    took = time.perf_counter() - begun
    reasons = Counter(answer["reason"] or answer["status"] for answer in answers)
    files = Counter(each["path"] for each in platform.requests if each["path"].startswith("/base/"))
    kept = configuration.read_text() == "# somebody's own\n"
    print(
        f"{len(devices)} at once: {took:.1f} s; {dict(reasons)}; {len(files)} files asked for, each at most"
        f" {max(files.values())} times; configuration {'untouched' if kept else 'CHANGED'}"
    )


if __name__ == "__main__":
    measure(*numbers(__doc__, RUNS=5, AT_ONCE=12))
