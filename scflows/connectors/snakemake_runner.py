"""Run Snakemake with our logger plug-in. Executed by the Python that has Snakemake, which need not have scflows.

Reads `{snakefile, targets, cores, config, loggers, mark, lock_note}` as JSON from stdin. Events are lines on stdout:
the mark, then JSON. `lock_note` is a file that lists the lock files of a run while it runs: if it is there at
the start, and the same lock files are, then that run was killed and its lock is removed.
"""

import json
import os
import subprocess
import sys
import threading
import time

FOLDER = os.path.join(".snakemake", "locks")
PLUGIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "snakemake_plugin")
#: The first version whose logger plug-ins report jobs.
FIRST = 9


def main() -> int:
    """Run the workflow; the exit status is Snakemake's, 3 if it cannot be run."""
    given = json.load(sys.stdin)

    def send(event: str, message: str) -> None:
        os.write(1, (given["mark"] + json.dumps({"event": event, "message": message}) + "\n").encode())

    try:
        import snakemake

        found = str(snakemake.__version__)
    except ImportError:
        send("refused", f"{sys.executable} has no snakemake")
        return 3
    has_events = int(found.partition(".")[0]) >= FIRST
    if not has_events:
        send("note", f"Snakemake {found} has no logger plug-ins, so its jobs have no records of their own")
    if not os.path.isfile(given["snakefile"]):
        send("refused", f"there is no Snakefile {given['snakefile']!r}")
        return 3
    words = ["--snakefile", given["snakefile"], "--cores", str(given["cores"]), "--rerun-incomplete"]
    if given["config"]:
        words += ["--config", *(f"{name}={value}" for name, value in given["config"].items())]
    if has_events:
        os.environ["SCFLOWS_MARK"] = given["mark"]
        paths = [PLUGIN, *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        words += ["--logger", "scflows", *given["loggers"]]
    command = [sys.executable, "-m", "snakemake"]
    if is_left(given["lock_note"]):
        send("note", "removing the lock of an earlier run of this step that was killed")
        subprocess.run([*command, "--snakefile", given["snakefile"], "--unlock"], stdout=2, check=False)
    before = set(lock_files())
    process = subprocess.Popen([*command, *words, "--", *given["targets"]], stdin=subprocess.DEVNULL)
    noting = threading.Thread(target=note_locks, args=(given["lock_note"], before, process), daemon=True)
    noting.start()
    status = process.wait()
    noting.join()
    if os.path.exists(given["lock_note"]):
        os.unlink(given["lock_note"])
    return status if status >= 0 else 128 - status


def lock_files() -> list[str]:
    """Return the lock files, each with its time, so that one of another run is not taken for it."""
    try:
        names = sorted(os.listdir(FOLDER))
        return [f"{name} {os.stat(os.path.join(FOLDER, name)).st_mtime_ns}" for name in names]
    except OSError:
        return []


def is_left(note: str) -> bool:
    """Return whether the lock files are those that a killed run wrote down."""
    try:
        with open(note, encoding="utf-8") as file:
            noted = json.load(file)
    except (OSError, ValueError):
        return False
    return bool(noted) and noted == lock_files()


def note_locks(note: str, before: set[str], process: subprocess.Popen[bytes]) -> None:
    """Write down the lock files of this run once they are there."""
    while process.poll() is None:
        found = [each for each in lock_files() if each not in before]
        if found:
            temporary = f"{note}.tmp"
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(lock_files(), file)
            os.replace(temporary, note)
            # Snakemake locks inputs and outputs one after the other.
            if len(found) > 1:
                return
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
