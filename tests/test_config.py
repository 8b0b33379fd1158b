"""`config.yml`: read once, strictly, every mistake with its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scflows.config import Config, Retention, parse_config, parse_size, read_config
from scflows.errors import FlowError, UsageError

WHOLE = b"""
allow: [shell, python]
on_failure: tell.yml
on_recovery: tell.yml
ping: {start: "https://example.org/a/start", success: "https://example.org/a", failure: null}
retention:
  days: 30
  log_bytes: 2 MiB
  tasks:
    13486: {days: 7, runs: 100}
"""


def test_everything_it_says_is_there():
    config = parse_config(WHOLE, "config.yml")
    assert config.allow == ("shell", "python")
    assert config.hooks == {"on_failure": "tell.yml", "on_recovery": "tell.yml"}
    assert config.ping == {"start": "https://example.org/a/start", "success": "https://example.org/a", "failure": ""}
    assert config.retention == Retention(days=30, log_bytes=2 * 2**20)
    assert config.retention_of("13486") == Retention(days=7, runs=100, log_bytes=2 * 2**20)
    assert config.retention_of("another") == config.retention
    assert config.warnings == ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "retention:\n", "allow: []\n"])
def test_an_empty_one_is_the_defaults(text):
    assert parse_config(text.encode(), "config.yml") == Config()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- shell", "c.yml:1:1: error: config.yml must contain a mapping, not a list"),
        ("a: 1\nallow: shell", "c.yml:2:1: error: allow must be a list, not text ('shell')"),
        ("allow: [1]", "c.yml:1:9: error: allow must list step types"),
        ("on_failure: [a]", "c.yml:1:1: error: on_failure must be text"),
        ("on_failure: ''", "c.yml:1:1: error: on_failure must be the path of a flow"),
        ("ping: {fail: 'https://e.org'}", "c.yml:1:8: error: ping: unknown property 'fail'; did you mean 'failure'?"),
        ("ping: {start: 'ftp://e.org'}", "c.yml:1:8: error: ping: start must be an http or https address"),
        ("ping: https://e.org", "c.yml:1:1: error: ping must be a mapping"),
        ("retention: {day: 3}", "c.yml:1:13: error: retention: unknown property 'day'; did you mean 'days'?"),
        ("retention: {days: 0}", "retention: days must be more than 0"),
        ("retention: {runs: 1.5}", "retention: runs must be an integer"),
        ("retention: {log_bytes: much}", "retention: log_bytes must be a size such as 10 MiB, not text ('much')"),
        ("retention: {tasks: {a: 3}}", "c.yml:1:21: error: retention: tasks: a must be a mapping"),
        ("retention: {tasks: {a: {total_bytes: 3}}}", "retention: tasks: a: unknown property 'total_bytes'"),
        ("allow: [", "c.yml:2:1: error: YAML"),
        ("x: !!python/none", "unknown tag"),
    ],
)
def test_a_mistake_is_told_with_its_place(text, told):
    with pytest.raises(FlowError) as caught:
        parse_config(text.encode(), "c.yml")
    assert told in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(FlowError) as caught:
        parse_config(b"allow: 1\nretention: {days: x, runs: y}\n", "c.yml")
    assert len(caught.value.mistakes) == 3


def test_an_unknown_name_is_warned_of_with_the_nearest():
    config = parse_config(b"on_failur: tell.yml\nautostart: [a.yml]\n", "c.yml")
    told = [str(warning) for warning in config.warnings]
    assert told[0] == "c.yml:1:1: warning: unknown property 'on_failur' is ignored; did you mean 'on_failure'?"
    assert told[1].startswith("c.yml:2:1: warning: autostart has no effect")


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (5, 5),
        ("5", 5),
        ("1.5 kB", 1500),
        ("10MiB", 10 * 2**20),
        (" 2 GB ", 2 * 10**9),
        (0, None),
        (True, None),
        ("-1 MB", None),
        ("MB", None),
        ("1 mb", None),
        ("nan", None),
        ("1e99", None),
        (None, None),
    ],
)
def test_a_size_is_a_number_with_or_without_a_unit(given, size):
    assert parse_size(given) == size


def test_the_file_is_read_once_and_again_when_it_changed(settings, monkeypatch):
    path = Path(settings.config_file)
    assert read_config(settings) == Config()
    path.parent.mkdir(parents=True)
    path.write_text("allow: [shell]\n")
    assert read_config(settings).allow == ("shell",)
    reads = []
    monkeypatch.setattr("scflows.config.parse_config", lambda *given: reads.append(given))
    assert read_config(settings).allow == ("shell",)
    assert reads == []
    monkeypatch.undo()
    path.write_text("allow: [shell, python]\n")
    assert read_config(settings).allow == ("shell", "python")


def test_a_broken_file_names_itself_and_what_to_do(settings):
    path = Path(settings.config_file)
    path.parent.mkdir(parents=True)
    path.write_text("allow: 5\n")
    with pytest.raises(UsageError, match=f"{path}:1:1: error: allow must be a list") as caught:
        read_config(settings)
    assert "move it away" in (caught.value.help or "")


def test_what_is_no_file_is_told(settings):
    # Also to root, who may read every file.
    Path(settings.config_file).mkdir(parents=True)
    with pytest.raises(UsageError, match="directory"):
        read_config(settings)


def test_a_file_that_may_not_be_read_is_told(settings):
    path = Path(settings.config_file)
    path.parent.mkdir(parents=True)
    path.write_text("allow: []\n")
    path.chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)  # Root may read everything.
    try:
        with pytest.raises(UsageError, match="Permission denied"):
            read_config(settings)
    finally:
        os.seteuid(before)


def test_a_file_that_was_found_sound_is_not_parsed_again_until_it_changes(settings, workspace):
    import json
    import subprocess
    import sys

    path = workspace / "data" / "config.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("retention: {days: 7, tasks: {a: {runs: 3}}}\non_failure: tell.yml\n")
    told = (
        "import json, sys; from scflows.config import read_config; from scflows.settings import read_settings;"
        "c = read_config(read_settings(sys.argv[1]));"
        "print(json.dumps([c.retention.days, c.tasks['a'].runs if c.tasks else 0, c.hooks, 'yaml' in sys.modules]))"
    )

    def read():
        command = [sys.executable, "-P", "-c", told, str(workspace)]
        return json.loads(subprocess.run(command, env=settings.environment, capture_output=True, check=True).stdout)

    assert read() == [7, 3, {"on_failure": "tell.yml"}, True]
    assert read() == [7, 3, {"on_failure": "tell.yml"}, False]
    path.write_text("retention: {days: 8}\n")
    assert read() == [8, 0, {}, True]
