"""What stamping, scoring and merging two tables costs, against the same pandas calls in a bare script.

Rows of A, with 3/4 as many in B, as CSV and as Excel files read by calamine and written by XlsxWriter in both.
"""

from __future__ import annotations

import csv
import os
import random
import sys
import tempfile
from pathlib import Path

from measure import PYTHON, always, cost, numbers

from scflows.connectors.tables import find_format
from scflows.connectors.tables.source import FileSource

FLOW = """
steps:
  - {name: a, type: table, table: {mode: add_column, path: A.EXT, into: time_started, time: iso, to: a.EXT}}
  - {name: b, type: table, table: {mode: add_column, path: B.EXT, into: time_started, time: iso, to: b.EXT}}
  - {name: score, type: table, table: {mode: zscore, path: a.EXT, column: nav, to: score.EXT}}
  - name: merge
    type: table
    table:
      mode: join
      path: score.EXT
      right: b.EXT
      on: [isin]
      columns: [subscriptions]
      defaults: {subscriptions: 0}
      combine: {time_started: min}
      to: merged.EXT
"""
#: What somebody writes who needs it once, with the same files in between.
SCRIPT = """
import time
import pandas as pd
if "EXT" == "csv":
    read = lambda name: pd.read_csv(name + ".csv")
    write = lambda table, name: table.to_csv(name + ".csv", index=False)
else:
    read = lambda name: pd.read_excel(name + ".xlsx", engine="calamine")
    write = lambda table, name: table.to_excel(name + ".xlsx", index=False, engine="xlsxwriter")
for name in "AB":
    table = read(name)
    table["time_started"] = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    write(table, "p" + name)
table = read("pA")
table["z_score_nav"] = (table.nav - table.nav.mean()) / table.nav.std(ddof=0)
write(table, "pscore")
both = read("pscore").merge(read("pB"), on="isin", how="left", suffixes=("", "_b"))
both["time_started"] = both.time_started.where(~(both.time_started_b < both.time_started), both.time_started_b)
both["subscriptions"] = both.subscriptions.fillna(0).astype(int)
write(both.drop(columns="time_started_b"), "pmerged")
"""


def main() -> None:
    rows, runs = numbers(__doc__, ROWS=200_000, RUNS=3)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        data = work / "data"
        data.mkdir()
        make(data, rows)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": name,
            **{f"XDG_{each}_HOME": f"{name}/{each}" for each in ("STATE", "CACHE")},
        }
        for ending in ("csv", "xlsx"):
            (work / "flow.yml").write_text(FLOW.replace("EXT", ending))
            (work / "bare.py").write_text(SCRIPT.replace("EXT", ending))
            ours = cost(always(PYTHON, "-P", "-m", "scflows", "run", "flow.yml"), environment, runs, cwd=name)
            bare = cost(always(PYTHON, "-P", str(work / "bare.py")), environment, runs, cwd=str(data))
            check(data, ending, rows)
            sys.stdout.write(
                f"{ending:<5} {rows:>9,} rows  {ours.cpu:6.2f} s {ours.peak:6.0f} MiB   "
                f"pandas {bare.cpu:6.2f} s {bare.peak:6.0f} MiB   "
                f"{ours.cpu / bare.cpu:.2f} x time  {ours.peak / bare.peak:.2f} x memory\n"
            )
            sys.stdout.flush()


def make(data: Path, rows: int) -> None:
    chosen = random.Random(1)
    tables: dict[str, tuple[str, list[tuple[int, float]]]] = {
        "A": ("nav", [(at, round(chosen.uniform(1, 500), 4)) for at in range(rows)]),
        "B": ("subscriptions", [(at, chosen.randrange(1000)) for at in chosen.sample(range(rows), rows * 3 // 4)]),
    }
    for name, (column, cells) in tables.items():
        with open(data / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["isin", column])
            writer.writerows((f"IE{at:010}", value) for at, value in cells)
        with open(data / f"{name}.xlsx", "wb") as book:
            lines = ({"isin": f"IE{at:010}", column: value} for at, value in cells)
            find_format("excel").save(book, ["isin", column], lines, {})


def check(data: Path, ending: str, rows: int) -> None:
    """Stop if the two results differ."""
    with (
        FileSource(str(data / f"merged.{ending}"), f"merged.{ending}").open() as ours,
        FileSource(str(data / f"pmerged.{ending}"), f"pmerged.{ending}").open() as bare,
    ):
        count = 0
        for (_, one), (number, other) in zip(ours.rows, bare.rows, strict=True):
            count += 1
            close = abs(float(one["z_score_nav"]) - float(other["z_score_nav"])) < 1e-9
            if one["isin"] != other["isin"] or int(one["subscriptions"]) != int(other["subscriptions"]) or not close:
                sys.exit(f"row {number} differs: {one}, {other}")
    if count != rows:
        sys.exit(f"{count} rows instead of {rows}")


if __name__ == "__main__":
    main()
