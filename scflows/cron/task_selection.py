"""Tasks that a user names on the command line: names, shell patterns, all of a workspace."""

from __future__ import annotations

from scflows.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scflows.cron.task import Task


def is_pattern(text: str) -> bool:
    """Return whether a text is a shell pattern; no name of a task is one."""
    return any(each in text for each in "*?[")


def select_tasks(given: Iterable[str], tasks: Iterable[Task], workspace: str = "") -> list[str]:
    """Return the names among `given` and those of the tasks that match its shell patterns, each once.

    Patterns match the tasks of a workspace, or of all if it is empty. Raises NotFound if a pattern matches none.
    """
    from fnmatch import fnmatchcase

    known = {task.name: task.workspace for task in tasks}
    found: dict[str, None] = {}
    for text in given:
        if not is_pattern(text):
            found[text] = None
            continue
        matches = [name for name in known if fnmatchcase(name, text)]
        own = [name for name in matches if workspace in ("", known[name])]
        if not own and matches:
            message = f"no task of {workspace} matches {text!r}; {len(matches)} of other workspaces do"
            raise NotFound(message, "add --all for the tasks of all workspaces")
        if not own:
            raise NotFound(f"no task matches {text!r}", "list the tasks: flows list-tasks --all")
        found.update(dict.fromkeys(own))
    return list(found)
