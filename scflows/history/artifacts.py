"""The artifacts of a run: the files that it made, as they were when they were made.

`<state>/runs/<run id>/artifacts.jsonl` has one JSON object per line. A line cut short by a kill is ignored.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from scflows.history.journal_file import whole_lines
from scflows.storage import BROKEN, checked_number, checked_text, open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.settings import Settings

NAME = "artifacts.jsonl"
#: Larger files have no checksum.
MAX_HASHED = 64 * 1024 * 1024
BLOCK = 1 << 20
UNCHANGED, CHANGED, MISSING = "unchanged", "changed", "missing"


@dataclass(frozen=True)
class Artifact:
    """A file that a run made."""

    name: str  #: its path in the data folder
    path: str  #: absolute
    step: str  #: the name of the step that made it
    size: int  #: in bytes
    modified: int  #: its modification time, in nanoseconds since the epoch
    sha256: str  #: hexadecimal; empty for a file larger than MAX_HASHED


def artifacts_path(settings: Settings, run: str) -> str:
    """Return the path of the list of a run's artifacts."""
    return os.path.join(settings.state_path, "runs", run, NAME)


def record_artifacts(path: str, data_path: str, step: str, files: Iterable[str]) -> None:
    """Add files that a step made to the list at `path`; files that are gone or not regular are ignored.

    Raises OSError.
    """
    content = b""
    for file in files:
        try:
            artifact = _described(file, data_path, step)
        except OSError:
            continue
        content += json.dumps(artifact.__dict__).encode() + b"\n"
    if not content:
        return
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # A single write, so that lines of parallel steps never mix.
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def copy_artifacts(settings: Settings, run: str, successor: str) -> None:
    """Give a run that resumes another one the artifacts of that one. Raises OSError."""
    try:
        with open(artifacts_path(settings, run), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return
    path = artifacts_path(settings, successor)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "wb") as target:
        # A line that was cut short must not join the next one.
        target.write(content + b"\n")


def read_artifacts(settings: Settings, run: str) -> list[Artifact]:
    """Return the artifacts of a run, in the order in which they were made last. Raises OSError."""
    found: dict[str, Artifact] = {}
    try:
        with open(artifacts_path(settings, run), "rb") as file:
            for note in whole_lines(file):
                try:
                    artifact = Artifact(**note)
                    for text in (artifact.name, artifact.path, artifact.step, artifact.sha256):
                        checked_text(text)
                    checked_number(artifact.size)
                    os.fsencode(artifact.path)
                except BROKEN:
                    continue
                found.pop(artifact.path, None)
                found[artifact.path] = artifact
    except FileNotFoundError:
        return []
    return list(found.values())


def state_of(artifact: Artifact) -> str:
    """Return whether a file is still as the run made it: UNCHANGED, CHANGED or MISSING."""
    try:
        descriptor = open_regular(artifact.path)
    except OSError:
        return MISSING
    try:
        found = os.fstat(descriptor)
        if found.st_size != artifact.size:
            return CHANGED
        if found.st_mtime_ns == artifact.modified:
            return UNCHANGED
        return UNCHANGED if artifact.sha256 and _sha256(descriptor) == artifact.sha256 else CHANGED
    except OSError:
        return MISSING
    finally:
        os.close(descriptor)


def _described(path: str, data_path: str, step: str) -> Artifact:
    descriptor = open_regular(path)
    try:
        found = os.fstat(descriptor)
        name = os.path.relpath(path, os.path.realpath(data_path))
        checksum = _sha256(descriptor) if found.st_size <= MAX_HASHED else ""
        return Artifact(name, path, step, found.st_size, found.st_mtime_ns, checksum)
    finally:
        os.close(descriptor)


def _sha256(descriptor: int) -> str:
    import hashlib

    digest = hashlib.sha256()
    position = 0
    while block := os.pread(descriptor, BLOCK, position):
        digest.update(block)
        position += len(block)
    return digest.hexdigest()
