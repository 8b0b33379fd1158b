"""Keep what a device of the Smart Citizen platform has sent."""

from __future__ import annotations

import time
from dataclasses import dataclass

from scflows.errors import ScflowsError, StepError
from scflows.steps import Context, Exit, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.integrations.smartcitizen.backup.device import Backup


@dataclass(frozen=True)
class DeviceBackupStep(Step):
    """Keep what a device of the Smart Citizen platform has sent: a Parquet file for each period that is over.

    Each run goes on where the last one ended. It gives `{outcome, message, rows, pieces, has_more, store}`, the run's
    reason being `BACKUP_DONE`. With `NO_NEW_DATA` or `EMPTY_DATA` it ends the flow, as `exit` does; where it fails,
    the reason is `BACKUP_FAILED`.

    - name: back up
      type: device_backup
      device_backup: {id: "{{ params.device }}", store: "s3://readings/kits", secret: store}
    """

    id: int | str = option(template=True, help="the number of the device")
    store: str | None = option(
        None, template=True, help="s3://BUCKET/PREFIX or a folder in DATA_PATH; else S3_DATA_BUCKET, else `backup`"
    )
    secret: str | None = option(None, help="the name of the secret with the login; else the usual AWS variables")
    period: str = option("month", choices=("month", "day"), help="what a file covers")
    grace_hours: float = option(24.0, minimum=0, help="how long after its end a period waits for late readings")
    max_periods: int = option(12, minimum=1, help="how many periods a run takes at most")
    again: str | None = option(None, template=True, help="take this period again instead, such as 2026-03")

    def writes(self) -> bool:
        return True

    def intention(self) -> str:
        return f"back up device {self.id}" + (f" again for {self.again}" if self.again else "")

    def run(self, ctx: Context) -> Any:
        from scflows.integrations.smartcitizen.backup.device import BACKUP_DONE, BACKUP_FAILED

        try:
            done, place = self._done(ctx)
        except StepError as error:
            error.reason = BACKUP_FAILED
            raise
        except ScflowsError as error:
            failed = StepError(str(error))
            failed.reason = BACKUP_FAILED
            raise failed from error
        message = f"device {self.id}: {done.message}"
        if done.outcome != BACKUP_DONE:
            return Exit(message, done.outcome)
        ctx.conclude(done.outcome, message)
        ctx.log.info(message)
        return {
            "outcome": done.outcome,
            "message": done.message,
            "rows": done.rows,
            "pieces": done.pieces,
            "has_more": done.has_more,
            "store": place,
        }

    def _done(self, ctx: Context) -> tuple[Backup, str]:
        """What was done, and where it is kept."""
        from scflows.integrations.smartcitizen.access import read_access
        from scflows.integrations.smartcitizen.backup.device import Cut, back_up, back_up_again
        from scflows.integrations.smartcitizen.backup.store import open_store
        from scflows.integrations.smartcitizen.client import Client
        from scflows.integrations.smartcitizen.device import device_number

        device = device_number(str(self.id))
        access = read_access(ctx.settings)
        for text in (access.token, ctx.settings.environment.get("AWS_SECRET_ACCESS_KEY")):
            if text:
                ctx.secrets.remember(text)
        secret: Any = {} if self.secret is None else ctx.secret(self.secret)
        fields = {name: secret[name] for name in secret}
        store = open_store(self.store or "", fields, ctx.settings.environment, ctx.writable)
        client = Client(access, lambda text, done, count: ctx.log.info(text), ctx.sleep)
        if self.again:
            return back_up_again(device, client, store, self.again, ctx.log.info), store.place
        cut = Cut(self.period, self.grace_hours * 3600, self.max_periods)
        return back_up(device, client, store, cut, time.time(), ctx.remaining, ctx.log.info), store.place
