"""Whose flow files may run programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scflows.errors import StepError
from scflows.steps.allow_list import is_own, require


@pytest.fixture
def flow(workspace):
    path = workspace / "tasks/flow.yml"
    path.touch()
    path.chmod(0o644)
    return path


@pytest.mark.parametrize(("mode", "own"), [(0o644, True), (0o600, True), (0o400, True), (0o646, False), (0o666, False)])
def test_a_file_is_ones_own_unless_others_may_write_it(flow, mode, own):
    flow.chmod(mode)
    assert is_own(str(flow)) is own


def test_a_file_that_is_gone_is_nobodys(flow):
    flow.unlink()
    assert not is_own(str(flow))


def test_a_shared_group_that_may_write_is_others(flow):
    groups = [group for group in (*os.getgroups(), 1) if group != os.getgid()]
    try:
        os.chown(flow, -1, groups[0])
    except PermissionError:
        pytest.skip("this user can give files to no other group")
    flow.chmod(0o664)
    assert not is_own(str(flow))


def test_the_users_private_group_is_the_user(flow, monkeypatch):
    import grp
    import pwd

    user, group = os.geteuid(), flow.stat().st_gid
    flow.chmod(0o664)
    person = pwd.struct_passwd(("ann", "x", user, group, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda number: person)
    for name, members, own in [("ann", [], True), ("ann", ["bob"], False), ("staff", [], False)]:
        found = grp.struct_group((name, "x", group, members))
        monkeypatch.setattr(grp, "getgrgid", lambda number, found=found: found)
        assert is_own(str(flow)) is own


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "not allowed"),
        ("", "not allowed"),
        ("allow: [python]", "not allowed"),
        ("allow: null", "not allowed"),
        ("- shell", "must contain a mapping"),
        ("allow: shell", "must be a list"),
        ("allow: [", "^config.yml:2:1: error: YAML"),
    ],
)
def test_what_the_settings_do_not_allow_is_refused(flow, settings, text, told):
    flow.chmod(0o666)
    config = Path(settings.config_file)
    config.parent.mkdir(parents=True)
    if text is not None:
        config.write_text(text)
    with pytest.raises(StepError, match=told):
        require("shell", settings, str(flow))


def test_what_the_settings_allow_is_allowed(flow, settings):
    flow.chmod(0o666)
    config = Path(settings.config_file)
    config.parent.mkdir(parents=True)
    config.write_text("allow: [shell]")
    require("shell", settings, str(flow))
