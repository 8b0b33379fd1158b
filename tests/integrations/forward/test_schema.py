"""What a schema may say; every mistake has its line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from scflows.errors import FlowError, UsageError
from scflows.expressions.templates import Expressions
from scflows.integrations.forward.payload import from_kit, shape_by_jq
from scflows.integrations.forward.schema import read_schema
from scflows.integrations.forward.topic import TopicTemplate

GOOD = """\
from: {url: "mqtt://a", topic: "in/<token>"}
to: {url: "mqtt://b", topic: "out/<token>"}
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("from: [1]\n", ":1:1: error: from must be a mapping"),
        (GOOD.replace("mqtt://b", "ftp://b"), "must be mqtt://"),
        (
            GOOD.replace("out/<token>", "out/<tokn>"),
            ":2:23: error: topic 'out/<tokn>': unknown name <tokn>; the names are token",
        ),
        (GOOD.replace("in/<token>", "in/a<token>"), "a name must be a level of its own"),
        (GOOD.replace("in/<token>", "in/#/x"), "'#' is allowed only at the end"),
        (
            GOOD + "names: {type: cvs, path: x, key: token}\n",
            ":3:9: error: names: type must be one of csv, rest, platform",
        ),
        (GOOD + "names: {type: csv, path: x, key: other}\n", "no topic contains <other>, the key of the names"),
        (GOOD + "names: {type: csv, key: token}\n", "names: path is missing"),
        (GOOD + "only: {tags: [a]}\n", "so `names` is required"),
        (GOOD + "payload: {jq: '.a['}\n", ":3:11: error: payload: jq"),
        (GOOD + "payload: {template: '{% if %}'}\n", ":3:11: error: payload: template"),
        (GOOD + "spool: {max_bytes: lots}\n", "must be a size such as 500 MiB"),
        (GOOD + "speed: 3\n", ":3:1: error: unknown property 'speed'"),
        (GOOD.replace("mqtt://a", "mqtt://u:secret-word@a"), "a URL must not contain a password"),
        ("- 1\n", "a forwarding must be a mapping"),
        ("from: {\n", "error: YAML"),
    ],
)
def test_a_mistake_is_told_with_its_place(flows: Callable[..., Any], tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "s.yml"
    path.write_text(text)
    ended = flows("forward", "mqtt", "--schema-file", "s.yml", "--dry-run", "--count", "1")
    assert ended.returncode == 2, ended.stderr
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret-word" not in ended.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            GOOD[:-2] + ', status_topic: "st/#"}\n',
            "s.yml:2:45: error: to: status_topic 'st/#': cannot send to a",
        ),
        (
            GOOD[:-2] + ', status_topic: "st/<token>"}\n',
            "s.yml:2:45: error: to: status_topic 'st/<token>': unknown name",
        ),
        (GOOD[:-2] + ", keepalive: 0}\n", "s.yml:2:45: error: to: keepalive must be 1 to 65535 seconds"),
        (GOOD[:-2] + ", keepalive: 65536}\n", "s.yml:2:45: error: to: keepalive must be 1 to 65535 seconds"),
        (
            GOOD[:-2] + f", client_id: {'x' * 65536}}}\n",
            "s.yml:2:45: error: to: client_id must not be longer than 65535 bytes",
        ),
        (GOOD[:-2] + ', client_id: "a\\0"}\n', "s.yml:2:45: error: to: client_id contains a NUL character"),
        (GOOD[:-2] + ', tls: {ca: "a\\0"}}\n', "s.yml:2:51: error: to: tls: ca contains a NUL character"),
        (
            (GOOD[:-2] + ", client_id: scflows-s}\n").replace("mqtt://b", "mqtt://a:1883"),
            "to: both ends have the same client_id at the same broker",
        ),
        (
            GOOD.replace("mqtt://b", "mqtt://a").replace("out/<token>", "in/<token>"),
            "s.yml:2:23: error: to: messages sent to 'in/<token>' would be received again by 'in/<token>'",
        ),
        (
            GOOD.replace("mqtt://b", "mqtt://a").replace("in/<token>", "#").replace("out/<token>", "copy/all"),
            "would be received again by '#', in an endless loop",
        ),
        (
            GOOD + 'names: {type: csv, path: "a\\0", key: token}\n',
            "s.yml:3:20: error: names: path contains a NUL character",
        ),
    ],
)
def test_what_no_broker_would_take_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yml").write_text(text)
    with pytest.raises(FlowError) as raised:
        read_schema("s.yml")
    assert any(told in str(mistake) for mistake in raised.value.mistakes), raised.value.mistakes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD.replace("mqtt://a", "amqp://a"), ["1:8: error: from: amqp://a: must be one of mqtt://"]),
        (GOOD.replace("mqtt://b", "ftp://b"), ["2:6: error: to: ftp://b: must be one of mqtt://"]),
        (GOOD.replace("mqtt://a", "mqtt://a:99999"), ["1:8: error: from: 'mqtt://a:99999': not a valid URL"]),
        (GOOD.replace("mqtt://a", "mqtt://u:p@a"), ["1:8: error: from: 'mqtt://a': a URL must not contain a password"]),
        (GOOD.replace('"mqtt://a"', '"mqtts://a", tls: {ca: no.pem}'), ["1:32: error: from: tls: ca: no such file"]),
        (GOOD.replace('"mqtt://a"', '"mqtt://a", secret: bus'), ["1:25: warning: from: secret 'bus' not found"]),
        (
            GOOD.replace("mqtt://a", "amqp://a").replace("out/<token>", "out/+"),
            ["1:8: error: from: amqp://a: must be one of", "2:23: error: topic 'out/+': cannot send to a wildcard"],
        ),
        (GOOD + "names: {type: csv, path: gone.csv, key: token}\n", ["3:20: error: names: ", "gone.csv: cannot be"]),
        (GOOD + "names: {type: csv, path: t.csv, key: token}\n", ["3:33: error: names: ", "no column 'token'"]),
        (GOOD + "names: {type: csv, path: empty.csv, key: token}\n", ["3:20: error: names: the table is empty"]),
    ],
)
def test_validate_finds_what_a_forwarding_would_refuse(
    tmp_path: Path, environment: dict[str, str], text: str, told: list[str]
) -> None:
    (tmp_path / "s.forward.yml").write_text(text)
    (tmp_path / "t.csv").write_text("x,y\n1,2\n")
    (tmp_path / "empty.csv").write_text("token,y\n")
    answer = subprocess.run(
        [sys.executable, "-m", "scflows", "validate", "s.forward.yml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == (0 if "warning" in told[0] else 1)
    for part in told:
        assert part in answer.stdout
    first = answer.stdout.splitlines()
    assert first[0].startswith(f"s.forward.yml:{told[0][:4]}".rstrip(": "))
    assert first[2].endswith("^")


def test_validate_of_a_sound_schema_connects_to_nothing(tmp_path: Path, flows: Callable[..., Any]) -> None:
    (tmp_path / "s.forward.yml").write_text(GOOD)
    answer = flows("validate", str(tmp_path / "s.forward.yml"))
    assert (answer.returncode, answer.stdout) == (0, "1 file, no errors\n")


def test_a_schema_that_is_not_there_is_told(flows: Callable[..., Any]) -> None:
    assert flows("forward", "mqtt", "--schema-file", "none.yml").returncode == 4


LEVEL = some.text(
    some.characters(exclude_characters="/+#<>\0", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8
)


@given(some.lists(some.tuples(some.booleans(), LEVEL), min_size=1, max_size=6))
def test_what_a_template_found_fills_it_again(levels: list[tuple[bool, str]]) -> None:
    template = TopicTemplate("/".join(f"<n{i}>" if named else level for i, (named, level) in enumerate(levels)))
    topic = "/".join(level for _, level in levels)
    names = template.match(topic)
    assert names == {f"n{i}": level for i, (named, level) in enumerate(levels) if named}
    assert template.fill(names) == topic


@given(LEVEL, some.sampled_from(["/", "+", "#", "\0", "\n"]))
def test_no_name_brings_a_level_or_a_wildcard_into_a_topic(level: str, sign: str) -> None:
    with pytest.raises(ValueError, match="is not allowed in a topic"):
        TopicTemplate("to/<name>").fill({"name": level + sign})


@pytest.mark.parametrize("topic", ["", "a\0b", "a/<b", "a/<b>/<b>", "a+/b", "a/b#"])
def test_a_topic_that_cannot_be_is_refused(topic: str) -> None:
    with pytest.raises(UsageError):
        TopicTemplate(topic)


@pytest.mark.parametrize("name", ["smartcitizen", "shaped", "observations", "kafka"])
def test_the_shipped_schemas_are_sound(name: str) -> None:
    schema = read_schema(str(Path(__file__).parents[3] / "tasks" / "forward" / f"{name}.forward.yml"))
    assert schema.name == name


def test_the_shipped_example_shapes_a_reading() -> None:
    schema = read_schema(str(Path(__file__).parents[3] / "tasks" / "forward" / "shaped.forward.yml"))
    shape = shape_by_jq(schema.payload["jq"], Expressions(), from_kit)
    shaped = shape(b"{t:2026-03-01T10:00:23Z,55:21.5,56:40}", "device/a1b2c3/readings", {})
    assert json.loads(shaped or b"") == {"at": "2026-03-01T10:00:23Z", "s55": 21.5, "s56": 40.0}
