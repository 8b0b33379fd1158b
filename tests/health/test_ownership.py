"""Files of the state that their user cannot use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scflows.health import FAIL, WARN, ownership
from scflows.health.tasks import condition
from scflows.history.store import open_store

SOMEBODY = 4711


def without(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Have this process be of a user who may use all but some files."""
    closed = {str(path) for path in paths}
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    monkeypatch.setattr(os, "access", lambda path, mode, effective_ids: path not in closed)


def test_files_that_sudo_left_behind_are_named_with_the_command_that_mends_it(machine, one, monkeypatch) -> None:
    state = Path(machine.settings.state_path)
    (state / "permits").mkdir(parents=True)
    (state / "permits" / "1").touch()
    (state / "worker.lock").touch()
    without(monkeypatch, state / "worker.lock")
    finding = one(ownership.files)
    owner = ownership._name(os.getuid())
    assert finding.level == FAIL
    assert finding.text == f"{state}/worker.lock belongs to {owner}, so {SOMEBODY} cannot use it"
    assert finding.help == f"sudo chown {SOMEBODY} {state}/worker.lock"
    without(monkeypatch, state / "permits")
    assert one(ownership.files).help == f"sudo chown -R {SOMEBODY} {state}/permits"


def test_many_of_them_are_mended_by_one_command(machine, monkeypatch) -> None:
    locks = Path(machine.settings.lock_path)
    locks.mkdir(parents=True)
    paths = [locks / f"{number:02}.lock" for number in range(20)]
    for path in paths:
        path.touch()
    without(monkeypatch, *paths)
    *first, last = ownership.files(machine.installation())
    assert [each.text.split(" ")[0] for each in first] == [str(path) for path in paths[:8]]
    assert last.text == "12 more like these"
    assert last.help == f"fix all: sudo chown -R {SOMEBODY} {machine.settings.state_path}"


def test_a_file_whose_mode_is_in_the_way_is_opened(machine, one, monkeypatch) -> None:
    path = Path(machine.settings.state_path) / "worker.lock"
    path.parent.mkdir(parents=True)
    path.touch()
    user = os.stat(path).st_uid
    monkeypatch.setattr(ownership, "_name", lambda uid: "ana")
    monkeypatch.setattr(os, "geteuid", lambda: user or SOMEBODY)
    monkeypatch.setattr(os, "access", lambda each, mode, effective_ids: each != str(path))
    if user == 0:
        os.chown(path, SOMEBODY, -1)
    finding = one(ownership.files)
    assert finding.text == f"{path} belongs to ana, but its mode keeps ana from using it"
    assert finding.help == f"chmod u+rwX {path}"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_root_is_told_what_it_left_behind_among_the_files_of_another(machine, one) -> None:
    state = Path(machine.settings.state_path)
    state.mkdir(parents=True)
    (state / "worker.lock").touch()
    os.chown(state, SOMEBODY, -1)
    # Only the folder is another's, as one that a container was given.
    assert list(ownership.files(machine.installation())) == []
    (state / "history.sqlite").touch()
    os.chown(state / "history.sqlite", SOMEBODY, -1)
    finding = one(ownership.files)
    assert finding.level == WARN
    assert finding.help == f"sudo chown {SOMEBODY} {state}/worker.lock"


def test_health_tells_of_them_in_one_line(machine, monkeypatch) -> None:
    store = open_store(machine.settings)
    state = Path(machine.settings.state_path)
    for name in ("a", "b"):
        (state / name).touch()
    without(monkeypatch, state / "a", state / "b")
    try:
        found = condition(machine.settings, store)
    finally:
        store.close()
    assert [(each.kind, each.task) for each in found.problems] == [("unusable", "")]
    assert f"sudo chown {SOMEBODY} {state}/a; and 1 more: flows check" in found.problems[0].message
