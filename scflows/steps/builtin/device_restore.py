"""Restore a period of a Smart Citizen device from its backup."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@dataclass(frozen=True)
class DeviceRestoreStep(Step):
    """Restore a period of a Smart Citizen device from its backup, as a CSV or Parquet file.

    The file is written only if its checksum, rows and values match the backup's manifest. The result is
    `{device, period, rows, sensors, is_whole, path, store}`. Without `path` the backup is only verified.

    - name: restore
      type: device_restore
      device_restore: {id: "{{ params.device }}", period: 2026-03, path: restored/march.csv}
    """

    id: int | str = option(template=True, help="the device number")
    period: str = option(template=True, help="the period, for example 2026-03")
    path: str | None = option(None, template=True, help="a file in DATA_PATH; .csv or .parquet")
    store: str | None = option(
        None,
        template=True,
        help="s3://BUCKET/PREFIX or a folder in DATA_PATH (default: S3_DATA_BUCKET, otherwise `backup`)",
    )
    secret: str | None = option(None, help="name of the secret with the credentials (default: the usual AWS variables)")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        path = options.get("path")
        if isinstance(path, str) and "{" not in path and not path.endswith((".csv", ".parquet")):
            yield "path", f"{path!r} must end in .csv or .parquet"

    def writes(self) -> bool:
        return self.path is not None

    def intention(self) -> str:
        return f"restore {self.period} of device {self.id}" + (f" to {self.path}" if self.path else "")

    def run(self, ctx: Context) -> Any:
        from scflows.integrations.smartcitizen.backup.restore import file_content, restore
        from scflows.integrations.smartcitizen.backup.store import open_store
        from scflows.integrations.smartcitizen.device import device_number
        from scflows.storage import replace

        device = device_number(str(self.id))
        path = None if self.path is None else ctx.writable(self.path)
        try:
            store = open_store(
                self.store or "",
                ctx.secret_fields(self.secret),
                ctx.settings.environment,
                ctx.writable,
                ctx.secrets.remember,
            )
            restored = restore(device, self.period, store)
            if path is not None:
                replace(path, file_content(restored, path))
        except OSError as error:
            raise StepError(f"{self.path}: {error.strerror}") from error
        rows = sum(len(each) for each in restored.readings.values())
        ctx.log.info(f"{self.period} of device {self.id}: {rows} readings, identical to the backup")
        return {
            "device": device,
            "period": self.period,
            "rows": rows,
            "sensors": sorted(sensor for sensor, each in restored.readings.items() if each),
            "is_whole": bool(restored.manifest.get("is_whole")),
            "path": self.path,
            "store": store.location,
        }
