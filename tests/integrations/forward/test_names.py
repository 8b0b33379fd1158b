"""Where names come from, and what becomes of a table that is not what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scflows.integrations.forward.factory import Opener
from scflows.integrations.forward.lookup_table import NameTable, from_csv
from scflows.integrations.forward.schema import read_schema
from scflows.integrations.smartcitizen.demo.kinds import OPERATOR
from scflows.integrations.smartcitizen.demo.kit import User
from scflows.integrations.smartcitizen.demo.platform import Platform
from scflows.integrations.smartcitizen.demo.server import serving
from scflows.secrets.masking import Mask
from scflows.settings import Settings, read_settings

SCHEMA = """\
from: {url: "mqtt://127.0.0.1:1", topic: "in/<token>"}
to: {url: "mqtt://127.0.0.1:1", topic: "out/<id>"}
"""
PLATFORM = """\
from: {url: "mqtt://127.0.0.1:1", topic: "in/<device_token>"}
to: {url: "mqtt://127.0.0.1:1", topic: "out/<device_id>"}
names: {type: platform, key: device_token}
"""


def settings(workspace: Path, environment: dict[str, str], **more: str) -> Settings:
    return read_settings(str(workspace), {**environment, **more})


def table_of(text: str, tmp_path: Path, found: Settings) -> NameTable:
    path = tmp_path / "s.yml"
    path.write_text(text)
    table = Opener(read_schema(str(path)), found, Mask(), lambda told: None).table()
    assert table is not None
    table.read()
    return table


@pytest.mark.parametrize("where", ["SC_BEARER", "SC_BEARER_FILE", "secret"])
def test_the_platform_is_asked_where_and_as_whom_all_of_smart_citizen_does(
    tmp_path: Path, workspace: Path, environment: dict[str, str], where: str
) -> None:
    asked: dict[str, set[str]] = {"platform": set(), "other": set()}

    class Watched(Platform):
        name = "platform"

        def user_of(self, token: str) -> User | None:
            asked[self.name].add(token)
            return super().user_of(token)

    other = Watched()
    other.name = "other"
    with serving(Watched()) as server, serving(other) as elsewhere:
        given = {"SC_API_URL": f"{server.url}/v0/", "API_URL": f"{elsewhere.url}/v0/"}
        if where == "SC_BEARER":
            given[where] = OPERATOR.token
        elif where == "SC_BEARER_FILE":
            (tmp_path / "token").write_text(OPERATOR.token)
            given[where] = str(tmp_path / "token")
        else:
            given["SECRET_SMARTCITIZEN"] = OPERATOR.token
        table = table_of(PLATFORM, tmp_path, settings(workspace, environment, **given))
    assert (table.problem, table.is_ready) == ("", True)
    assert asked == {"platform": {OPERATOR.token}, "other": set()}


def test_devices_whose_tokens_may_not_be_seen_are_no_table(
    tmp_path: Path, workspace: Path, environment: dict[str, str]
) -> None:
    with serving(Platform()) as server:
        table = table_of(PLATFORM, tmp_path, settings(workspace, environment, SC_API_URL=f"{server.url}/v0/"))
    assert not table.is_ready
    assert "SC_BEARER is not set" in table.problem


def test_no_other_address_gets_the_platform_s_token(flows: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "s.yml").write_text(PLATFORM.replace("platform,", 'platform, uri: "https://a.example",'))
    ended = flows("forward", "mqtt", "--schema-file", "s.yml", "--dry-run")
    assert ended.returncode == 2
    assert "SC_API_URL" in ended.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("token,id\n", "the table is empty"),
        ("tokn,id\n", "no column 'token' in its header; it has tokn, id"),
        ("", "no column 'token' in its header; it has none"),
        ("token,id\n,1\n", "no row has 'token'"),
        ("token,id,id\na,1,2\n", "duplicate column"),
    ],
)
def test_a_table_without_names_is_a_mistake(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "names.csv"
    path.write_text(text)
    table = NameTable("token", from_csv(str(path), "token"), 60, lambda told: None)
    table.read()
    assert not table.is_ready
    assert told in table.problem


def test_a_table_that_shrank_by_more_than_half_is_not_believed(tmp_path: Path) -> None:
    path, told = tmp_path / "names.csv", list[str]()
    table = NameTable("token", from_csv(str(path), "token"), 60, told.append)
    rows = [f"t{number},{number}" for number in range(4)]
    for count, problem in ((4, ""), (1, "only 1 of 4 names are left"), (0, "the table is empty"), (2, ""), (1, "")):
        path.write_text("\n".join(["token,id", *rows[:count], ""]))
        table.read()
        assert table.problem.startswith(problem), count
        assert bool(table.problem) == bool(problem)
        assert table.row("t0") == {"token": "t0", "id": "0"}
    assert any("the old names are still used" in line for line in told)


def test_whatever_goes_wrong_is_a_refresh_that_failed() -> None:
    def fetch() -> list[dict[str, Any]]:
        raise RecursionError("too deep")

    table = NameTable("token", fetch, 60, lambda told: None)
    table.read()
    assert table.problem == "RecursionError: too deep"


@pytest.mark.parametrize("content", ['{"name":"x"}', "[]", "", '{"name":"x","ended":1}', '{"name":"y"}'])
def test_a_state_that_cannot_be_read_is_told(flows: Callable[..., Any], tmp_path: Path, content: str) -> None:
    folder = tmp_path / "state" / "scflows" / "forward"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text(content)
    shown = flows("health", "forward", "--json")
    assert shown.returncode == 1, shown.stderr
    item = json.loads(shown.stdout)["items"][0]
    assert (item["name"], item["level"], item["text"].partition(": ")[2][:10]) == ("x", "FAIL", "unreadable")


def test_unknown_names_are_worth_a_warning() -> None:
    from scflows.integrations.forward.status import evaluate
    from scflows.locks import current_process

    end = {"name": "mqtt a", "up": True, "problem": ""}
    told = {
        "name": "x",
        "process": current_process(),
        "updated": 1000.0,
        "source": end,
        "sink": end,
        "forwarded": 2,
        "dropped": {"unknown name": 10},
        "last_unknown": 900.0,
        "spool": {"messages": 0, "bytes": 0, "most_bytes": 10, "refused": 0, "problem": ""},
    }
    assert evaluate(told, 1001.0) == ("warn", "10 messages dropped because their names are not in the table")
    assert evaluate({**told, "last_unknown": None}, 1001.0)[0] == "ok"
    # The end that is at fault is told of first.
    full = {
        "messages": 7,
        "bytes": 10,
        "most_bytes": 10,
        "refused": 0,
        "problem": "the spool has reached its maximum size",
    }
    away = {"name": "mqtt b", "up": False, "problem": "Connection refused"}
    down = {**told, "source": {**end, "up": False, "problem": "the connection broke"}, "sink": away, "spool": full}
    expected = "the spool has reached its maximum size: 7 messages wait for mqtt b: Connection refused"
    assert evaluate(down, 1001.0) == ("FAIL", expected)
    unread = {**down, "names": {"rows": 0, "read": 0, "problem": "the table is empty"}}
    assert evaluate(unread, 1001.0) == ("FAIL", "names: the table is empty")
