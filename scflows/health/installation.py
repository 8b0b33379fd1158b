"""An installation as the checks see it; each part is read once."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from functools import cached_property

from scflows.cron.crontab.install import split_or_advise
from scflows.cron.crontab.line import CrontabEntry
from scflows.cron.crontab.owner import check_user, lines_of_others, of_others
from scflows.cron.crontab.program import Crontab, find_crontab
from scflows.cron.crontab.tabfile import Tabfile
from scflows.cron.daemon import GENERATORS, Daemon, boot_time, find_daemon
from scflows.cron.scheduler_lock import scheduler
from scflows.cron.task_index import read_tasks
from scflows.errors import ScflowsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from scflows.cron.crontab.block import Parts
    from scflows.cron.task import Task
    from scflows.locks import Holder
    from scflows.settings import Settings


@dataclass(frozen=True)
class Account:
    """The owner of the crontab, from the system's user database."""

    name: str
    home: str
    is_listed: bool = True  #: cron starts nothing for unlisted users


class Installation:
    """One user's installation of scflows on this machine."""

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str] | None = None,
        now: float | None = None,
        account: Account | None = None,
        proc: str = "/proc",
        run: str = "/run",
        generators: tuple[str, ...] = GENERATORS,
    ) -> None:
        self.settings = settings
        self.environment = os.environ if environment is None else environment
        self.now = time.time() if now is None else now
        self.account = account or this_account()
        self.proc = proc
        self.run = run
        self.generators = generators

    @cached_property
    def tabfile(self) -> Tabfile:
        """The tabfile. Raise Refused if it cannot be read."""
        return Tabfile.read(self.settings.tabfile)

    @cached_property
    def entries(self) -> list[CrontabEntry]:
        """The tabfile's lines for single tasks. Raise Refused."""
        return self.tabfile.entries

    @property
    def all_entries(self) -> list[CrontabEntry]:
        """The same and the lines for all tasks. Raise Refused."""
        return [*self.entries, *filter(None, (self.tabfile.tick, self.tabfile.boot))]

    @cached_property
    def _read_tasks(self) -> tuple[list[Task], list[ScflowsError]]:
        return read_tasks(self.settings)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """All readable tasks by name."""
        return {task.name: task for task in self._read_tasks[0]}

    @property
    def task_problems(self) -> list[ScflowsError]:
        return self._read_tasks[1]

    @cached_property
    def scheduled(self) -> list[Task]:
        """The tasks that should be started. Raise Refused."""
        names = set(self.tasks) if self.tabfile.tick else {entry.name for entry in self.entries}
        boots = self.boot_tasks if self.tabfile.boot else []
        return [task for name, task in self.tasks.items() if (name in names and task.enabled) or task in boots]

    @cached_property
    def boot_tasks(self) -> list[Task]:
        """The enabled tasks that start at boot."""
        return [task for task in self.tasks.values() if task.enabled and task.schedule.is_boot]

    @cached_property
    def crontab(self) -> Crontab | None:
        return find_crontab(self.environment)

    @cached_property
    def _read_crontab(self) -> tuple[bytes, ScflowsError | None]:
        if self.crontab is None:
            return b"", None
        try:
            check_user(self.crontab, self.settings.state_path)
            return self.crontab.read(), None
        except ScflowsError as error:
            return b"", error

    @property
    def raw(self) -> bytes:
        """The crontab; empty if there is none or it cannot be read."""
        return self._read_crontab[0]

    @property
    def crontab_error(self) -> ScflowsError | None:
        """Why the crontab cannot be read or does not belong to these tasks."""
        return self._read_crontab[1]

    @cached_property
    def parts(self) -> Parts:
        """The parsed crontab, whose strays are only lines for tasks of this state folder.

        Raise Refused if the marks of the block do not match.
        """
        parts = split_or_advise(self.raw, self.settings)
        others = of_others(parts.strays, self.settings.state_path)
        return replace(parts, strays=[entry for entry in parts.strays if entry not in others])

    @cached_property
    def others(self) -> list[CrontabEntry]:
        """Lines in the block for tasks of another state folder. Raise the same as `parts`."""
        return lines_of_others(self.parts.lines or [], self.settings.state_path)

    @cached_property
    def scheduler(self) -> Holder | None:
        """Our own scheduler, `flows cron run`, if it is running."""
        return scheduler(self.settings)

    @cached_property
    def daemon(self) -> Daemon | None:
        """The system's cron, if it is running."""
        return find_daemon(self.proc, self.run, self.generators)

    @cached_property
    def booted(self) -> float:
        """When the machine was started; 0 if unknown."""
        return boot_time(self.proc)


def this_account() -> Account:
    """Return the account of this process."""
    import pwd

    try:
        found = pwd.getpwuid(os.geteuid())
    except KeyError:
        return Account(str(os.geteuid()), os.path.expanduser("~"), False)
    return Account(found.pw_name, found.pw_dir)
