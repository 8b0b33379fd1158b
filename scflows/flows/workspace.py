"""Create a workspace: a folder with settings, flows and data, filled with the example flows."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.errors import NotFound, Refused, UsageError
from scflows.storage import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

README = "README.md"
MADE = "made"
KEPT = "kept"  #: it existed
REPLACED = "replaced"  #: the old file was renamed

ENV_FILE = """\
# Settings of this workspace: one NAME=value per line. Do not use quotes, spaces, $ or # in a value, because
# shells, compose files and service managers read them differently. Environment variables take precedence.

# The time zone for displayed times.
#TIMEZONE=Europe/Madrid

# DEBUG, INFO, WARNING or ERROR
#LOG_LEVEL=INFO

# How long a run may take, in seconds, unless its flow or task sets a timeout.
#FLOW_TIMEOUT_SECONDS=600

# Folders, relative to this one or absolute.
#FLOWS_PATH=tasks
#DATA_PATH=data
#TEMPLATES_PATH=data/templates

# The folder of the tabfile and the logs, and the history.
#TASKS_PATH=~/.cache/scdata/tasks
#SCFLOWS_DATABASE_URL=sqlite:////var/lib/scflows/history.sqlite

# Random values for this workspace, reserved for a web service; no command uses them yet.
API_TOKEN={api_token}
FLASK_SECRET_KEY={secret_key}
"""
CONFIG_FILE = """\
# The permissions of the flows in this workspace, and whom to notify.

# Step types that can access more than the data folder. Flow files that belong to you and that no other user can
# write may always use them.
#allow: [shell, python]

# Flows that are called after a task fails, is late or works again. Try them with: flows notify test
#on_failure: ops/notice.yml
#on_recovery: ops/notice.yml
"""


@dataclass(frozen=True)
class Placed:
    """The result for one file of a new workspace."""

    path: str  #: absolute
    action: str  #: `made`, `kept` or `replaced`
    backup: str = ""  #: the path of the replaced file


def make_workspace(folder: str, force: bool = False, is_empty: bool = False) -> list[Placed]:
    """Fill a folder with the example flows, `data/`, `.env` and `data/config.yml`; return the results in order.

    `is_empty`: without the example flows.

    Existing files are kept; with `force` they are renamed to `.bak` and replaced. Raises UsageError if the path is not
    a folder, Refused if it is not writable.
    """
    top = os.path.abspath(os.path.expanduser(folder))
    if os.path.lexists(top) and not os.path.isdir(top):
        raise UsageError(f"{top} is not a folder", "give the path of a new or existing folder")
    try:
        return list(_create_files(top, force, is_empty))
    except OSError as error:
        message = f"{error.filename or top}: cannot be written: {error.strerror}"
        raise Refused(message, f"see: ls -ld {os.path.dirname(top)}") from error


def shipped_flows() -> str:
    """Return the folder of the example flows: in the installed package, otherwise in the checkout. Raises NotFound."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for path in (os.path.join(package, "shipped"), os.path.join(os.path.dirname(package), "tasks")):
        if os.path.isdir(path):
            return path
    raise NotFound("this installation has no example flows", "install scflows from its wheel or a checkout")


def _create_files(top: str, force: bool, is_empty: bool) -> Iterator[Placed]:
    import json
    import secrets

    from scflows.flows.json_schema import SCHEMA_FILE, flow_schema

    source = "" if is_empty else shipped_flows()
    for relative in _files(source) if source else ():
        if relative == SCHEMA_FILE:
            continue  # From a checkout; a new one is created below.
        with open(os.path.join(source, relative), "rb") as file:
            content = _without_links(file.read()) if relative == README else file.read()
        yield _place_file(os.path.join(top, "tasks", relative), content, 0o644, force)
    schema = json.dumps(flow_schema(), indent=2) + "\n"
    yield _place_file(os.path.join(top, "tasks", SCHEMA_FILE), schema.encode(), 0o644, force)
    os.makedirs(os.path.join(top, "data"), exist_ok=True)
    env = ENV_FILE.format(api_token=secrets.token_urlsafe(32), secret_key=secrets.token_urlsafe(48))
    yield _place_file(os.path.join(top, ".env"), env.encode(), 0o600, force)
    yield _place_file(os.path.join(top, "data", "config.yml"), CONFIG_FILE.encode(), 0o644, force)


def _without_links(content: bytes) -> bytes:
    """Return a page with names of pages in place of links to the documentation, which is not in a workspace."""
    import re

    return re.sub(rb"\[([^]]*)\]\(\.\./(docs/[^)#]*)[^)]*\)", rb"\1 (`\2` in the source of scflows)", content)


def _files(source: str) -> Iterator[str]:
    """Yield the files of a folder as relative paths, without hidden files and Python caches."""
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        for name in sorted(names):
            if name[0] != "." and os.path.isfile(os.path.join(folder, name)):
                yield os.path.relpath(os.path.join(folder, name), source)


def _place_file(path: str, content: bytes, mode: int, force: bool) -> Placed:
    if not os.path.lexists(path):
        replace(path, content, mode, durable=False)
        return Placed(path, MADE)
    if not force or _has_content(path, content):
        return Placed(path, KEPT)
    backup = _unused_name(path)
    # Renamed rather than copied, so that the old file, which may contain secrets, keeps its mode.
    os.rename(path, backup)
    replace(path, content, mode, durable=False)
    return Placed(path, REPLACED, backup)


def _has_content(path: str, content: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read() == content
    except OSError:
        return False


def _unused_name(path: str) -> str:
    """Return an unused name for the backup of a file."""
    backup, number = f"{path}.bak", 2
    while os.path.lexists(backup):
        backup, number = f"{path}.bak{number}", number + 1
    return backup
