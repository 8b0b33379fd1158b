"""Back up the readings of a Smart Citizen device."""

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
    """Back up the readings of a Smart Citizen device: one Parquet file per completed period.

    Each run continues where the last one ended. The result is `{outcome, message, rows, pieces, has_more, store}` and
    the run's reason `BACKUP_DONE`. `NO_NEW_DATA` and `EMPTY_DATA` end the flow, like `exit`; after a failure the reason
    is `BACKUP_FAILED`.

    - name: back up
      type: device_backup
      device_backup: {id: "{{ params.device }}", store: "s3://readings/kits", secret: store}
    """

    id: int | str = option(template=True, help="the device number")
    store: str | None = option(
        None,
        template=True,
        help="s3://BUCKET/PREFIX or a folder in DATA_PATH (default: S3_DATA_BUCKET, otherwise `backup`)",
    )
    secret: str | None = option(None, help="name of the secret with the credentials (default: the usual AWS variables)")
    period: str = option("month", choices=("month", "day"), help="the period that each file covers")
    grace_hours: float = option(24.0, minimum=0, help="hours to wait for late readings after the end of a period")
    max_periods: int = option(12, minimum=1, help="maximum number of periods per run")
    again: str | None = option(None, template=True, help="back up this period again instead, for example 2026-03")

    def writes(self) -> bool:
        return True

    def intention(self) -> str:
        return f"back up device {self.id}" + (f" again for {self.again}" if self.again else "")

    def run(self, ctx: Context) -> Any:
        from scflows.integrations.smartcitizen.backup.device import BACKUP_DONE, BACKUP_FAILED

        try:
            result, location = self._back_up(ctx)
        except StepError as error:
            error.reason = BACKUP_FAILED
            raise
        except ScflowsError as error:
            failure = StepError(str(error))
            failure.reason = BACKUP_FAILED
            raise failure from error
        message = f"device {self.id}: {result.message}"
        if result.outcome != BACKUP_DONE:
            return Exit(message, result.outcome)
        ctx.conclude(result.outcome, message)
        ctx.log.info(message)
        return {
            "outcome": result.outcome,
            "message": result.message,
            "rows": result.rows,
            "pieces": result.pieces,
            "has_more": result.has_more,
            "store": location,
        }

    def _back_up(self, ctx: Context) -> tuple[Backup, str]:
        """Return the result and where it is kept."""
        from scflows.integrations.smartcitizen.access import read_access
        from scflows.integrations.smartcitizen.backup.device import BackupPlan, back_up, back_up_again
        from scflows.integrations.smartcitizen.backup.store import open_store
        from scflows.integrations.smartcitizen.client import Client
        from scflows.integrations.smartcitizen.device import device_number

        device = device_number(str(self.id))
        access = read_access(ctx.settings, ctx.secrets.remember)
        store = open_store(
            self.store or "",
            ctx.secret_fields(self.secret),
            ctx.settings.environment,
            ctx.writable,
            ctx.secrets.remember,
        )
        client = Client(access, lambda text, done, count: ctx.log.info(text), ctx.sleep)
        if self.again:
            return back_up_again(device, client, store, self.again, ctx.log.info), store.location
        plan = BackupPlan(self.period, self.grace_hours * 3600, self.max_periods)
        return back_up(device, client, store, plan, time.time(), ctx.remaining, ctx.log.info), store.location
