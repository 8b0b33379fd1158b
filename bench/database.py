"""How long the save step takes for many rows, and its peak memory: PostgreSQL, MariaDB and SQLite.

Saves a CSV file with the step type database, `mode: upsert`, twice: into an empty table, and over the rows that are
there. Servers: POSTGRES and MARIADB, by default the test database on this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import PYTHON, numbers

URLS = {
    "postgresql": os.environ.get("POSTGRES", "postgresql://root@127.0.0.1:5432/test"),
    "mariadb": os.environ.get("MARIADB", "mariadb://root@127.0.0.1:3306/test"),
    "sqlite": "sqlite:///store.db",
}
TABLE = "bench_save"
COLUMNS = (
    "isin varchar(20) primary key, nav numeric(14,4), zscore double precision, time_started varchar(40), subs integer"
)
FLOW = """
steps:
  - {{name: save, type: database, database: {{secret: {kind}, mode: {mode}, {options}}}}}
"""


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("tasks", "data"):
            (root / "workspace" / name).mkdir(parents=True)
        home = root / "workspace"
        secrets = home / "data" / "secrets.yml"
        secrets.write_text(
            "".join(f"- {{name: {kind}, type: credential, url: '{url}'}}\n" for kind, url in URLS.items())
        )
        secrets.chmod(0o600)
        lines = (
            f"XS{number:010},{number % 977}.{number % 89:02},0.{number % 997},1767225600.5,{number % 50}\n"
            for number in range(rows)
        )
        (home / "data" / "in.csv").write_text("isin,nav,zscore,time_started,subs\n" + "".join(lines))
        environment = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "CRONTAB_PROGRAM": "none",
        }

        def run(flow: str) -> str:
            began = time.monotonic()
            process = subprocess.Popen(
                (PYTHON, "-P", "-m", "scflows", "run", flow), env=environment, cwd=home, stdout=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                sys.exit(f"{flow} ended with {process.returncode}")
            cpu = usage.ru_utime + usage.ru_stime
            return f"{time.monotonic() - began:5.1f} s, CPU {cpu:5.1f} s, {usage.ru_maxrss / 1024:4.0f} MiB"

        for kind in URLS:
            tasks = home / "tasks"
            for name, query in (
                ("drop", f"drop table if exists {TABLE}"),
                ("create", f"create table {TABLE} ({COLUMNS})"),
            ):
                (tasks / f"{name}.yml").write_text(FLOW.format(kind=kind, mode="execute", options=f'query: "{query}"'))
            save = f"table: {TABLE}, key: isin, path: in.csv"
            (tasks / "save.yml").write_text(FLOW.format(kind=kind, mode="upsert", options=save))
            run("drop.yml")
            run("create.yml")
            for what in ("first", "again"):
                print(f"{kind:<11} {what:<6} {rows:,} rows: {run('save.yml')}", flush=True)
            run("drop.yml")


if __name__ == "__main__":
    main(*numbers(__doc__, ROWS=200_000))
