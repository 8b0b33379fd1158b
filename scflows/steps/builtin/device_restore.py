"""Bring a period of a device back from its backup."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import ScflowsError, StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@dataclass(frozen=True)
class DeviceRestoreStep(Step):
    """Bring a period of a device back from what `device_backup` has kept, as a CSV or Parquet file.

    The file is written only if checksum, rows and values are those of the manifest. It gives
    `{device, period, rows, sensors, is_whole, path, store}`. Without `path` it verifies only.

    - name: bring back
      type: device_restore
      device_restore: {id: "{{ params.device }}", period: 2026-03, path: restored/march.csv}
    """

    id: int | str = option(template=True, help="the number of the device")
    period: str = option(template=True, help="which, such as 2026-03")
    path: str | None = option(None, template=True, help="a file in DATA_PATH; .csv or .parquet")
    store: str | None = option(
        None, template=True, help="s3://BUCKET/PREFIX or a folder in DATA_PATH; else S3_DATA_BUCKET, else `backup`"
    )
    secret: str | None = option(None, help="the name of the secret with the login; else the usual AWS variables")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        path = options.get("path")
        if isinstance(path, str) and "{" not in path and not path.endswith((".csv", ".parquet")):
            yield "path", f"{path!r} ends with neither .csv nor .parquet"

    def writes(self) -> bool:
        return self.path is not None

    def intention(self) -> str:
        return f"bring {self.period} of device {self.id} back" + (f" to {self.path}" if self.path else "")

    def run(self, ctx: Context) -> Any:
        from scflows.integrations.smartcitizen.backup.restore import bring_back, file_content
        from scflows.integrations.smartcitizen.backup.store import open_store
        from scflows.integrations.smartcitizen.device import device_number
        from scflows.storage import replace

        device = device_number(str(self.id))
        path = None if self.path is None else ctx.writable(self.path)
        try:
            secret: Any = {} if self.secret is None else ctx.secret(self.secret)
            fields = {name: secret[name] for name in secret}
            if key := ctx.settings.environment.get("AWS_SECRET_ACCESS_KEY"):
                ctx.secrets.remember(key)
            store = open_store(self.store or "", fields, ctx.settings.environment, ctx.writable)
            restored = bring_back(device, self.period, store)
            if path is not None:
                replace(path, file_content(restored, path))
        except OSError as error:
            raise StepError(f"{self.path}: {error.strerror}") from error
        except StepError:
            raise
        except ScflowsError as error:
            raise StepError(str(error)) from error
        rows = sum(len(each) for each in restored.readings.values())
        ctx.log.info(f"{self.period} of device {self.id}: {rows} readings, as they were backed up")
        return {
            "device": device,
            "period": self.period,
            "rows": rows,
            "sensors": sorted(sensor for sensor, each in restored.readings.items() if each),
            "is_whole": bool(restored.manifest.get("is_whole")),
            "path": self.path,
            "store": store.place,
        }
