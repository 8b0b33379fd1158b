"""Make a workspace: the folder that holds settings, flows and data, filled with the flows we ship."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.errors import NotFound, Refused, UsageError
from scflows.storage import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MADE = "made"
KEPT = "kept"  #: it was there
REPLACED = "replaced"  #: the old one lies beside it

ENV_FILE = """\
# Settings of this workspace. One NAME=value a line, and nothing that shells, compose files and service
# managers read differently: no quotes, blanks, $ or # in a value. Variables of the environment win.

# The zone that times are shown in.
#TIMEZONE=Europe/Madrid

# DEBUG, INFO, WARNING or ERROR
#LOG_LEVEL=INFO

# How long a run may take, in seconds, when neither its flow nor its task says so.
#FLOW_TIMEOUT_SECONDS=600

# Folders, from here or absolute.
#FLOWS_PATH=tasks
#DATA_PATH=data
#TEMPLATES_PATH=data/templates

# Where the tabfile and the logs are, and where the history is.
#TASKS_PATH=~/.cache/scdata/tasks
#SCFLOWS_DATABASE_URL=sqlite:////var/lib/scflows/history.sqlite

# Made at random for this workspace, for services that take requests; no command uses them so far.
API_TOKEN={api_token}
FLASK_SECRET_KEY={secret_key}
"""
CONFIG_FILE = """\
# What the flows of this workspace may do.

# Step types that reach beyond the data folder. Flow files that belong to you and that nobody else can write
# may use them anyway.
#allow: [shell, python]
"""


@dataclass(frozen=True)
class Placed:
    """What became of one file of a new workspace."""

    path: str  #: absolute
    what: str  #: `made`, `kept` or `replaced`
    backup: str = ""  #: where the file is that was replaced


def make_workspace(folder: str, force: bool = False) -> list[Placed]:
    """Fill a folder with the shipped flows, `data/`, `.env` and `data/config.yml`; what was done, in order.

    A file that is there is kept; with `force` it is replaced by ours, and its content kept in a `.bak` file.
    Raises UsageError for a folder that is none, Refused where nothing can be written.
    """
    top = os.path.abspath(os.path.expanduser(folder))
    if os.path.lexists(top) and not os.path.isdir(top):
        raise UsageError(f"{top} is no folder", "give the path of a folder, new or not")
    try:
        return list(_fill(top, force))
    except OSError as error:
        told = f"{error.filename or top}: cannot be written: {error.strerror}"
        raise Refused(told, f"see: ls -ld {os.path.dirname(top)}") from error


def shipped_flows() -> str:
    """The folder of the flows we ship: in the installed package, else in the checkout. Raises NotFound."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for path in (os.path.join(package, "shipped"), os.path.join(os.path.dirname(package), "tasks")):
        if os.path.isdir(path):
            return path
    raise NotFound("this installation has no shipped flows", "install scflows from its wheel or a checkout")


def _fill(top: str, force: bool) -> Iterator[Placed]:
    import json
    import secrets

    from scflows.flows.json_schema import SCHEMA_FILE, flow_schema

    source = shipped_flows()
    for relative in _files(source):
        if relative == SCHEMA_FILE:
            continue  # Of a checkout: this workspace's own is made below.
        with open(os.path.join(source, relative), "rb") as file:
            yield _put(os.path.join(top, "tasks", relative), file.read(), 0o644, force)
    schema = json.dumps(flow_schema(), indent=2) + "\n"
    yield _put(os.path.join(top, "tasks", SCHEMA_FILE), schema.encode(), 0o644, force)
    os.makedirs(os.path.join(top, "data"), exist_ok=True)
    env = ENV_FILE.format(api_token=secrets.token_urlsafe(32), secret_key=secrets.token_urlsafe(48))
    yield _put(os.path.join(top, ".env"), env.encode(), 0o600, force)
    yield _put(os.path.join(top, "data", "config.yml"), CONFIG_FILE.encode(), 0o644, force)


def _files(source: str) -> Iterator[str]:
    """The files of a folder as paths below it; hidden ones and what Python leaves behind are left out."""
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        for name in sorted(names):
            if name[0] != "." and os.path.isfile(os.path.join(folder, name)):
                yield os.path.relpath(os.path.join(folder, name), source)


def _put(path: str, content: bytes, mode: int, force: bool) -> Placed:
    if not os.path.lexists(path):
        replace(path, content, mode, durable=False)
        return Placed(path, MADE)
    if not force or _has(path, content):
        return Placed(path, KEPT)
    backup = _free(path)
    # A move, so that the old file keeps its mode: it may hold secrets.
    os.rename(path, backup)
    replace(path, content, mode, durable=False)
    return Placed(path, REPLACED, backup)


def _has(path: str, content: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read() == content
    except OSError:
        return False


def _free(path: str) -> str:
    """A name for the old file that no earlier backup has."""
    backup, number = f"{path}.bak", 2
    while os.path.lexists(backup):
        backup, number = f"{path}.bak{number}", number + 1
    return backup
