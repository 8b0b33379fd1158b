"""SQL databases: SQLite in a file, and a real PostgreSQL and MariaDB."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.service, pytest.mark.language("§10 database")]

POSTGRES = "postgresql://root@127.0.0.1:5432/test"
MARIADB = "mariadb://root@127.0.0.1:3306/test"


@dataclass
class Place:
    """A database, as the options of a step name it."""

    kind: str
    options: dict[str, Any]
    table: str  #: a name that nobody else uses
    query: Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request: pytest.FixtureRequest, workspace: Path) -> Iterator[Place]:
    yield from make_place(request.param, workspace)


def make_place(kind: str, workspace: Path) -> Iterator[Place]:
    import sqlalchemy

    (workspace / "data").mkdir(exist_ok=True)
    table = f"t{uuid.uuid4().hex[:12]}"
    if kind == "sqlite":
        url, options = f"sqlite:///{workspace}/data/store.db", {"sqlite": "store.db"}
    else:
        url, options = (POSTGRES if kind == "postgresql" else MARIADB), {"secret": "warehouse"}
        secrets = workspace / "data" / "secrets.yml"
        secrets.write_text(yaml.safe_dump([{"name": "warehouse", "type": "credential", "url": url}]))
        secrets.chmod(0o600)
    driver = {"postgresql": "postgresql+psycopg2", "mariadb": "mariadb+pymysql", "sqlite": "sqlite"}[kind]
    engine = sqlalchemy.create_engine(driver + url[url.index(":") :], poolclass=sqlalchemy.NullPool)
    try:
        engine.connect().close()
    except sqlalchemy.exc.OperationalError:
        pytest.skip(f"needs {url}")

    def query(text: str) -> list[tuple[Any, ...]]:
        with engine.begin() as connection:
            found = connection.execute(sqlalchemy.text(text))
            return [tuple(row) for row in found] if found.returns_rows else []

    yield Place(kind, options, table, query)
    query(f"drop table if exists {table}")
    engine.dispose()


def step(name: str, place: Place, **options: Any) -> dict[str, Any]:
    return {"name": name, "type": "database", "database": {**place.options, **options}}


def flow(*steps: dict[str, Any]) -> str:
    return yaml.safe_dump({"steps": list(steps)}, sort_keys=False)


def data(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "type": "set_fact", "set_fact": {"value": value}}


def create(place: Place, columns: str) -> dict[str, Any]:
    return step("create", place, mode="execute", query=f"create table if not exists {place.table} ({columns})")


def test_each_mode_gives_its_result(run_flow: Callable[..., Any], place: Place) -> None:
    t = place.table
    run = run_flow(
        flow(
            create(place, "id integer primary key, name varchar(100), amount numeric(12,2)"),
            data("items", [{"id": 1, "name": "a", "amount": 1.5}, {"id": 2, "name": "b's \"ü", "amount": 2, "x": 0}]),
            step("many", place, mode="many", query=f"insert into {t} values (:id, :name, :amount)", data_key="items"),
            step("rows", place, query=f"select * from {t} where id in :ids order by id", params={"ids": [1, 2, 7]}),
            step("one", place, mode="one", query=f"select name from {t} where id = :id", params={"id": 2}),
            step("none", place, mode="one", query=f"select name from {t} where id = 9"),
            step("value", place, mode="value", query=f"select count(*) from {t}"),
            step("change", place, mode="execute", query=f"update {t} set name = :n", params={"n": "x:y"}),
        )
    )
    assert run.status == "success", run.message
    result = run.result
    assert result["many"] == {"rows": 2}
    assert result["rows"] == [
        {"id": 1, "name": "a", "amount": 1.5},
        {"id": 2, "name": "b's \"ü", "amount": 2},
    ]
    assert (result["one"], result["none"], result["value"]) == ({"name": "b's \"ü"}, None, 2)
    assert result["change"] == {"rows": 2}
    assert place.query(f"select distinct name from {t}") == [("x:y",)]


def test_an_error_rolls_the_whole_step_back(run_flow: Callable[..., Any], place: Place) -> None:
    run = run_flow(
        flow(
            create(place, "id integer primary key"),
            data("items", [{"id": 1}, {"id": 2}, {"id": 1}]),
            step("many", place, mode="many", query=f"insert into {place.table} values (:id)", data_key="items"),
        )
    )
    assert run.status == "failed"
    assert "many" in run.message
    assert "insert into" not in run.message
    assert place.query(f"select * from {place.table}") == []


def test_an_upsert_keeps_one_row_for_each_key(run_flow: Callable[..., Any], place: Place, workspace: Path) -> None:
    (workspace / "data" / "in.csv").write_text("isin,nav,note\nA,1.25,\nB,,x\nA,2.5,last\n")
    t = place.table
    run = run_flow(
        flow(
            create(place, "isin varchar(12) primary key, nav numeric(10,4), note text"),
            step("first", place, mode="upsert", table=t, key="isin", path="in.csv"),
            data("more", [{"isin": "B", "nav": 7}, {"isin": "C", "nav": 8}]),
            step("second", place, mode="upsert", table=t, key=["isin"], data_key="more"),
            step("rows", place, query=f"select * from {t} order by isin"),
        )
    )
    assert run.status == "success", run.message
    assert run.result["first"] == {"rows": 2, "repeated": 1}
    assert run.result["second"] == {"rows": 2, "repeated": 0}
    assert run.result["rows"] == [
        {"isin": "A", "nav": 2.5, "note": "last"},
        {"isin": "B", "nav": 7, "note": "x"},
        {"isin": "C", "nav": 8, "note": None},
    ]
    assert "1 rows have the key of an earlier row" in run.log


@pytest.mark.parametrize(
    ("columns", "rows", "expected"),
    [
        ("k integer, v integer", [{"k": 1, "v": 1}], "no primary key or unique index on (k)"),
        ("k integer primary key", [{"k": 1, "v": 1}], "has no column 'v'; its columns are k"),
        ("k integer primary key, v integer", [{"v": 1}], "no column 'k', which is part of the key"),
        ("k integer primary key, v integer", [{"k": 1, "v": 1}, {"k": None, "v": 1}], "row 2: column 'k' is part of"),
    ],
)
def test_an_upsert_that_could_go_wrong_is_refused(
    run_flow: Callable[..., Any], place: Place, columns: str, rows: list[Any], expected: str
) -> None:
    run = run_flow(
        flow(
            create(place, columns),
            data("rows", rows),
            step("save", place, mode="upsert", table=place.table, key="k", data_key="rows"),
        )
    )
    assert run.status == "failed"
    assert expected in run.message
    assert place.query(f"select * from {place.table}") == []


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_the_row_that_a_server_refuses_is_named(run_flow: Callable[..., Any], workspace: Path, kind: str) -> None:
    for place in make_place(kind, workspace):
        (workspace / "data" / "in.csv").write_text("k,v\n1,5\n2,many\n")
        run = run_flow(
            flow(
                create(place, "k integer primary key, v integer"),
                step("save", place, mode="upsert", table=place.table, key="k", path="in.csv"),
            )
        )
        assert run.status == "failed"
        assert "in.csv: row 3: " in run.message
        assert "many" in run.message
        assert place.query(f"select * from {place.table}") == []


def test_a_table_that_does_not_exist_is_named(run_flow: Callable[..., Any], place: Place) -> None:
    run = run_flow(
        flow(
            step("create", place, mode="execute", query=f"create table {place.table} (a integer)"),
            data("rows", [{"a": 1}]),
            step("save", place, mode="upsert", table="nowhere; drop table x", key="a", data_key="rows"),
        )
    )
    assert "table 'nowhere; drop table x' does not exist" in run.message


def test_a_read_cannot_write(run_flow: Callable[..., Any], place: Place) -> None:
    place.query(f"create table {place.table} (a integer)")
    run = run_flow(flow(step("sneak", place, mode="value", query=f"delete from {place.table}")))
    assert run.status == "failed"
    assert "read" in run.message.lower()


def test_numbers_and_times_come_back_as_they_are(run_flow: Callable[..., Any], place: Place) -> None:
    t = place.table
    kinds = {"sqlite": "text", "postgresql": "timestamptz", "mariadb": "datetime(6)"}
    run = run_flow(
        flow(
            create(place, f"k integer primary key, big bigint, at {kinds[place.kind]}, flag boolean, note text"),
            data(
                "rows", [{"k": 1, "big": 9007199254740993, "at": "2026-01-02T03:04:05+02:00", "flag": True, "note": 5}]
            ),
            step("save", place, mode="upsert", table=t, key="k", data_key="rows"),
            step("row", place, mode="one", query=f"select * from {t}"),
        )
    )
    assert run.status == "success", run.message
    row = run.result["row"]
    assert row["big"] == 9007199254740993
    assert row["note"] == "5"
    assert row["flag"] in (True, 1)
    if place.kind == "mariadb":
        assert row["at"] == "2026-01-02T01:04:05"
    else:
        from datetime import datetime

        assert datetime.fromisoformat(row["at"]) == datetime.fromisoformat("2026-01-02T03:04:05+02:00")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_decimal_that_no_number_holds_is_refused(run_flow: Callable[..., Any], workspace: Path, kind: str) -> None:
    query = "select cast('1234567890.12345678901234567' as decimal(38,17)) as s"
    for place in make_place(kind, workspace):
        run = run_flow(flow(step("sum", place, mode="value", query=query)))
        assert run.status == "failed"
        assert "column 's'" in run.message
        assert "1234567890.1234567890" in run.message


def test_a_flood_of_rows_needs_a_higher_limit(run_flow: Callable[..., Any], place: Place) -> None:
    place.query(f"create table {place.table} (a integer)")
    place.query(f"insert into {place.table} values (1), (2), (3)")
    run = run_flow(flow(step("rows", place, query=f"select * from {place.table}", limit=2)))
    assert "more than 2 rows" in run.message


@pytest.mark.waits
def test_the_time_limit_ends_the_statement(run_flow: Callable[..., Any], place: Place) -> None:
    slow = {
        "postgresql": "select pg_sleep(30)",
        "mariadb": "select sleep(30)",
        "sqlite": "with recursive n(x) as (select 1 union all select x+1 from n) select max(x) from n",
    }[place.kind]
    began = time.monotonic()
    run = run_flow(flow({**step("slow", place, mode="value", query=slow), "timeout": 1}))
    assert time.monotonic() - began < 15
    assert run.status == "failed"
    if place.kind == "postgresql":
        left = "select count(*) from pg_stat_activity where query like 'select pg_sleep(30)%' and state = 'active'"
        assert place.query(left) == [(0,)]


def test_a_login_never_shows(run_flow: Callable[..., Any], workspace: Path) -> None:
    (workspace / "data").mkdir()
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text(
        '- {name: warehouse, type: credential, url: "mariadb://nobody:hidden-word@127.0.0.1:3306/test"}\n'
    )
    secrets.chmod(0o600)
    place = Place("mariadb", {"secret": "warehouse"}, "t", lambda text: [])
    run = run_flow(flow(step("ask", place, mode="value", query="select 1")))
    assert run.status == "failed"
    assert "Access denied" in run.message
    assert "hidden-word" not in run.message + run.log


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("url: 'oracle://h/d'", "`url` starts with oracle://; use postgresql://, mariadb://, sqlite://"),
        ("url: 'postgresql://127.0.0.1'", "no database: set it as the path of `url`"),
        ("username: a", "no server: set `url`, or `host` and `database`"),
        ("url: 'postgresql://root@127.0.0.1:9/test'", "Connection refused"),
        ("url: 'postgresql://root@127.0.0.1/no-such'", 'database "no-such" does not exist'),
    ],
)
def test_a_wrong_secret_is_named(run_flow: Callable[..., Any], workspace: Path, secret: str, expected: str) -> None:
    (workspace / "data").mkdir()
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text(f"- {{name: warehouse, type: credential, {secret}}}\n")
    secrets.chmod(0o600)
    place = Place("postgresql", {"secret": "warehouse"}, "t", lambda text: [])
    run = run_flow(flow(step("ask", place, mode="value", query="select 1")))
    assert run.status == "failed"
    assert expected in run.message


def test_options_are_checked_before_the_run(mistakes: Callable[..., list[str]]) -> None:
    def found(**options: Any) -> str:
        return "\n".join(mistakes("database", {"sqlite": "a.db", **options}))

    assert "'query' is missing" in found()
    assert "the query uses :day, which 'params' lacks" in found(query="select :day")
    assert "does not use the parameter 'x'" in found(query="select 1", params={"x": 1})
    assert "is not a template" in found(query="select {{ a }}")
    assert "set either 'secret' or 'sqlite'" in found(query="select 1", secret="s")
    assert "'table' is missing" in found(mode="upsert", key="a", data_key="d")
    assert "'limit' has no effect" in found(mode="one", query="select 1", limit=5)
    assert found(query="select '12:30'::time, \\:x") == ""


def test_four_processes_that_save_the_same_rows_leave_each_once(
    tmp_path: Path, workspace: Path, place: Place, environment: dict[str, str]
) -> None:
    lines = "".join(f"K{number % 700},{number}\n" for number in range(1500))
    (workspace / "data" / "in.csv").write_text("k,v\n" + lines)
    place.query(f"create table {place.table} (k varchar(20) primary key, v integer)")
    text = flow(step("save", place, mode="upsert", table=place.table, key="k", path="in.csv"))
    (workspace / "tasks").mkdir(exist_ok=True)
    names = [f"save{number}.yml" for number in range(4)]
    for name in names:
        (workspace / "tasks" / name).write_text(text)
    command = [sys.executable, "-P", "-m", "scflows", "run"]
    running = [
        subprocess.Popen(
            [*command, name], cwd=workspace, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for name in names
    ]
    outputs = [each.communicate(timeout=120)[0].decode() for each in running]
    assert [each.returncode for each in running] == [0, 0, 0, 0], "\n".join(outputs)
    assert place.query(f"select count(*), count(distinct k), max(v) from {place.table}") == [(700, 700, 1499)]


def test_a_kill_leaves_all_rows_or_none(workspace: Path, place: Place, environment: dict[str, str]) -> None:
    (workspace / "data" / "in.csv").write_text("k,v\n" + "".join(f"K{number},{number}\n" for number in range(30000)))
    place.query(f"create table {place.table} (k varchar(20) primary key, v integer)")
    text = flow(step("save", place, mode="upsert", table=place.table, key="k", path="in.csv"))
    (workspace / "tasks").mkdir(exist_ok=True)
    (workspace / "tasks" / "save.yml").write_text(text)
    command = [sys.executable, "-P", "-m", "scflows", "run", "save.yml"]
    running = subprocess.Popen(
        command, cwd=workspace, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(1.2)
    os.killpg(running.pid, 9)
    running.wait()
    assert place.query(f"select count(*) from {place.table}") in ([(0,)], [(30000,)])
    subprocess.run(command, cwd=workspace, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert place.query(f"select count(*) from {place.table}") == [(30000,)]
