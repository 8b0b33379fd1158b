"""What the others measure with: CPU time and memory of whole commands, as multiples of `python -c pass`."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PYTHON = sys.executable
BARE = (PYTHON, "-P", "-c", "pass")


def arguments(text: str | None) -> argparse.ArgumentParser:
    """A command line whose help says what is measured."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def numbers(text: str | None, **usual: int) -> list[int]:
    """The numbers on the command line, each with its name and what it is unless given."""
    given = arguments(text)
    for name, number in usual.items():
        given.add_argument(name, metavar=name, nargs="?", type=int, default=number, help=f"{number:,}, if not given")
    return list(vars(given.parse_args()).values())


def counts(text: str | None, *usual: int) -> list[int]:
    """The counts on the command line, for each of which is measured."""
    given = arguments(text)
    given.add_argument("COUNT", nargs="*", type=int, help=f"{', '.join(f'{each:,}' for each in usual)}, if not given")
    return given.parse_args().COUNT or list(usual)


def always(*words: str) -> Callable[[int], Sequence[str]]:
    """The same command, whatever the number of the run."""
    return lambda number: words


@dataclass(frozen=True)
class Cost:
    """What a command took, median of several runs."""

    cpu: float  #: seconds of user and system time, children included
    peak: float  #: MiB of the largest process


def cost(command: Callable[[int], Sequence[str]], environment: dict[str, str], runs: int = 20, cwd: str = "/") -> Cost:
    """The cost of a command; `command` is given the number of the run. Fails when the command does."""
    seconds, peaks = [], []
    for number in range(-1, runs):
        process = subprocess.Popen(
            command(number), env=environment, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _, told = process.communicate() if process.stderr is None else (None, process.stderr.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.stderr is not None:
            process.stderr.close()
        if process.returncode != 0:
            sys.exit(f"{command(number)} ended with {process.returncode}: {told!r}")
        if number >= 0:
            seconds.append(usage.ru_utime + usage.ru_stime)
            peaks.append(usage.ru_maxrss / 1024)
    return Cost(statistics.median(seconds), statistics.median(peaks))


def bare(environment: dict[str, str], runs: int = 20) -> Cost:
    """The cost of `python -c pass`."""
    return cost(lambda number: BARE, environment, runs)


def children_seconds() -> float:
    """User and system seconds of all children so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
