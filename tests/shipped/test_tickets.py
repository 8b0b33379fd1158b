"""Tickets of a desk and of a tracker, worked on by an automation server: all three a stand-in, asked over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

STAND_IN = Path(__file__).with_name("ticket_servers.py")
DESK = "tickets/desk.yml"
TRACKER = "tickets/tracker.yml"
SECRETS = """
- {name: desk, type: credential, username: robot, password: desk-password}
- {name: automation, type: token, token: automation-token}
- {name: tracker, type: api-key, key: PRIVATE-TOKEN, value: tracker-key}
"""


@dataclass
class Services:
    """The three services, as the test sees them."""

    address: str

    def control(self, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.address}/control/{path}", content), timeout=10) as answer:
            return json.load(answer)

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.control("state")
        return state

    def fail(self, method: str, path: str, status: int = 500, left: int = 1) -> None:
        """Let the next calls fail."""
        self.control("fail", {"method": method, "path": path, "status": status, "left": left})

    def sent(self, part: str) -> list[Any]:
        """The bodies that were posted to paths with a part."""
        return [each["body"] for each in self.state["seen"] if part in each["path"] and each["method"] != "GET"]

    def status(self, key: str) -> str:
        status: str = self.state["tickets"][key]["fields"]["status"]["name"]
        return status


@pytest.fixture
def services() -> Iterator[Services]:
    process = subprocess.Popen([sys.executable, str(STAND_IN)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Services(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def settings_file(services: Services, tasks: Path, data: Path) -> Path:
    """The settings of the sample, for the stand-in; a run looks once at work that goes on."""
    sample = (tasks / "tickets/settings.yml.sample").read_text(encoding="utf-8")
    written = sample.replace("http://127.0.0.1:8765", services.address).replace("looks: 5", "looks: 1")
    path = data / "tickets/settings.yml"
    path.parent.mkdir(parents=True)
    path.write_text(written, encoding="utf-8")
    (data / "secrets.yml").write_text(SECRETS, encoding="utf-8")
    (data / "secrets.yml").chmod(0o600)
    return path


Ran = Callable[..., Any]


def outcomes(data: Path, source: str) -> dict[str, str]:
    """What the last run made of each ticket."""
    summary = json.loads((data / f"tickets/{source}.json").read_text(encoding="utf-8"))
    return {each["key"]: each["outcome"] for each in summary}


@pytest.mark.parametrize("flow", [DESK, TRACKER])
def test_without_settings_nothing_is_asked(run_task: Ran, flow: str) -> None:
    run = run_task(flow)
    assert run.status == "exit"
    assert "tickets/settings.yml" in run.message


def test_a_ticket_of_the_desk_is_started_followed_and_resolved(
    run_task: Ran, services: Services, settings_file: Path, data: Path
) -> None:
    first = run_task(DESK)
    assert first.status == "success", first.log
    assert outcomes(data, "desk") == {"HELP-1": "under way", "HELP-2": "under way", "HELP-3": "left alone"}
    assert services.sent("job_templates/42/launch") == [
        {"extra_vars": {"host": "web-7", "ticket": "HELP-1", "title": "New server, please"}}
    ]
    assert services.status("HELP-1") == "In progress"
    assert json.loads((data / "tickets/desk-HELP-1.json").read_text())["ended"] is False

    assert run_task(DESK).status == "success"
    assert services.status("HELP-1") == "In progress", "it is still running"
    assert run_task(DESK).status == "success"
    assert outcomes(data, "desk")["HELP-1"] == "done"
    assert services.status("HELP-1") == "Resolved"
    assert services.status("HELP-3") == "Waiting for support", "nobody automated it"
    comments = services.state["tickets"]["HELP-1"]["comments"]
    assert [comment.split()[-1] for comment in comments] == [comments[0].split()[-1], "successful."]
    assert len(services.sent("launch")) == 2, "each was started once"
    assert json.loads((data / "tickets/desk-HELP-1.json").read_text())["state"] == "successful"


def test_one_run_follows_short_work_to_its_end(
    run_task: Ran, services: Services, settings_file: Path, data: Path
) -> None:
    settings_file.write_text(settings_file.read_text().replace("looks: 1", "looks: 3"))
    services.control("states", {"states": ["running", "successful"]})
    assert run_task(DESK).status == "success"
    assert outcomes(data, "desk") == {"HELP-1": "done", "HELP-2": "done", "HELP-3": "left alone"}


def test_work_that_failed_goes_to_a_person_and_is_no_failure_of_the_flow(
    run_task: Ran, services: Services, settings_file: Path, data: Path
) -> None:
    services.control("states", {"states": ["failed"]})
    assert run_task(DESK).status == "success"
    assert services.status("HELP-1") == "Waiting for support agent"
    assert services.state["tickets"]["HELP-1"]["comments"][-1].endswith("has ended: failed.")
    assert outcomes(data, "desk")["HELP-1"] == "failed"


def test_an_issue_of_the_tracker_is_started_followed_and_closed(
    run_task: Ran, services: Services, settings_file: Path, data: Path
) -> None:
    services.control("states", {"states": ["running", "successful"]})
    for labels in (["automation", "kind::New server", "under way"], ["automation", "kind::New server", "automated"]):
        run = run_task(TRACKER, page=1)
        assert run.status == "success", run.log
        assert services.state["issues"]["11"]["labels"] == labels
    issue = services.state["issues"]["11"]
    assert issue["state"] == "closed"
    assert len(issue["notes"]) == 2
    assert services.sent("job_templates/42/launch")[0]["extra_vars"]["host"] == "db-2"
    assert services.sent("job_templates/43/launch")[0]["extra_vars"]["user"] == "grace", "the second page was read"


def test_an_issue_whose_work_failed_stays_open_and_is_not_started_again(
    run_task: Ran, services: Services, settings_file: Path
) -> None:
    services.control("states", {"states": ["error"]})
    for _ in range(2):
        assert run_task(TRACKER).status == "success"
    issue = services.state["issues"]["11"]
    assert issue["state"] == "opened"
    assert "needs a person" in issue["labels"]
    assert len(services.sent("launch")) == 2


def test_a_service_that_fails_once_is_asked_again(run_task: Ran, services: Services, settings_file: Path) -> None:
    services.fail("GET", "search", 503)
    services.fail("POST", "HELP-1/comment", 502)
    assert run_task(DESK).status == "success"
    assert services.state["tickets"]["HELP-1"]["comments"]


def test_a_ticket_that_could_not_be_moved_is_moved_by_the_next_run(
    run_task: Ran, services: Services, settings_file: Path, data: Path
) -> None:
    services.control("states", {"states": ["running", "successful"]})
    services.fail("POST", "HELP-1/transitions", 400)
    first = run_task(DESK)
    assert first.status == "failed"
    assert "HELP-1" in first.message
    assert outcomes(data, "desk")["HELP-2"] == "under way", "the others go on"
    for _ in range(2):
        assert run_task(DESK).status == "success"
    assert services.status("HELP-1") == "Resolved"
    assert len(services.sent("launch")) == 2, "what was started is not started again"


def test_a_start_that_is_refused_is_tried_by_the_next_run(
    run_task: Ran, services: Services, settings_file: Path, data: Path
) -> None:
    services.fail("POST", "job_templates/42/launch", 400)
    assert run_task(DESK).status == "failed"
    assert services.status("HELP-1") == "Waiting for support"
    assert run_task(DESK).status == "success"
    assert services.status("HELP-1") == "In progress"


def test_a_ticket_that_comes_back_is_started_again(
    run_task: Ran, services: Services, settings_file: Path, data: Path
) -> None:
    services.control("states", {"states": ["successful"]})
    note = data / "tickets/desk-HELP-1.json"
    note.write_text(json.dumps({"id": 7, "ended": True}))
    assert run_task(DESK).status == "success"
    assert json.loads(note.read_text())["id"] != 7


def test_a_dry_run_asks_and_sends_nothing(run_task: Ran, services: Services, settings_file: Path, data: Path) -> None:
    run = run_task(DESK, dry=True)
    assert run.status == "success", run.log
    seen = services.state["seen"]
    assert {each["method"] for each in seen} == {"GET"}
    assert sorted(path.name for path in (data / "tickets").iterdir()) == ["settings.yml"]


def test_no_login_is_in_what_a_run_leaves(
    run_task: Ran, services: Services, settings_file: Path, tmp_path: Path
) -> None:
    services.fail("POST", "HELP-1/transitions", 400)
    run_task(DESK)
    run_task(TRACKER)
    assert {each["path"].split("/")[1] for each in services.state["seen"]} == {"desk", "automation", "tracker"}
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "secrets.yml":
            content = path.read_bytes()
            for secret in (b"desk-password", b"automation-token", b"tracker-key"):
                assert secret not in content, path
