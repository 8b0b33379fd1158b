"""An S3 store, a real server on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.language("§10 s3")


@pytest.fixture
def bucket(s3_server: str, workspace: Path) -> str:
    """A bucket of the store that the secret `store` names."""
    from scflows.connectors.s3 import client

    (workspace / "data").mkdir()
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text(
        f'- {{name: store, type: credential, url: "{s3_server}", username: kit, password: s3cret-word}}\n'
    )
    secrets.chmod(0o600)
    name = f"b{time.time_ns()}"
    client({"url": s3_server, "username": "kit", "password": "s3cret-word"}).create_bucket(Bucket=name)
    return name


def test_a_file_and_a_value_go_there_and_come_back(run_flow: Callable[..., Any], workspace: Path, bucket: str) -> None:
    (workspace / "data" / "day.bin").write_bytes(bytes(range(256)) * 40_000)
    run = run_flow(f"""
steps:
  - {{name: put, type: s3, s3: {{secret: store, bucket: {bucket}, mode: put, key: d/day.bin, path: day.bin}}}}
  - {{name: note, type: set_fact, set_fact: {{value: {{text: "grün"}}}}}}
  - {{name: value, type: s3, s3: {{secret: store, bucket: {bucket}, mode: put, key: d/note.json, data_key: note}}}}
  - {{name: list, type: s3, s3: {{secret: store, bucket: {bucket}, mode: list, key: d/}}}}
  - {{name: text, type: s3, s3: {{secret: store, bucket: {bucket}, key: d/note.json}}}}
  - {{name: file, type: s3, s3: {{secret: store, bucket: {bucket}, key: d/day.bin, path: back/day.bin}}}}
  - {{name: there, type: s3, s3: {{secret: store, bucket: {bucket}, mode: exists, key: d/day.bin}}}}
  - {{name: gone, type: s3, s3: {{secret: store, bucket: {bucket}, mode: delete, key: d/day.bin}}}}
  - {{name: not there, type: s3, s3: {{secret: store, bucket: {bucket}, mode: exists, key: d/day.bin}}}}
""")
    result = run.result
    assert run.status == "success", run.message
    assert [(each["key"], each["bytes"]) for each in result["list"]] == [("d/day.bin", 10_240_000), ("d/note.json", 17)]
    assert result["text"] == '{"text": "grün"}'
    assert (workspace / "data" / "back" / "day.bin").read_bytes() == (workspace / "data" / "day.bin").read_bytes()
    assert (result["there"], result["gone"], result["not there"]) == (True, True, False)


def test_what_is_not_there_is_an_error_and_leaves_nothing(
    run_flow: Callable[..., Any], workspace: Path, bucket: str
) -> None:
    run = run_flow(f"steps: [{{name: g, type: s3, s3: {{secret: store, bucket: {bucket}, key: none, path: no.csv}}}}]")
    assert run.status == "failed"
    assert f"get s3://{bucket}/none: " in run.message
    assert sorted(each.name for each in (workspace / "data").iterdir()) == ["secrets.yml"]


def test_an_answer_that_is_too_long_or_no_text_is_refused(
    run_flow: Callable[..., Any], workspace: Path, bucket: str
) -> None:
    (workspace / "data" / "b").write_bytes(b"\xff" * 100)
    put = f"{{name: p, type: s3, s3: {{secret: store, bucket: {bucket}, mode: put, key: b, path: b}}}}"
    run = run_flow(f"steps: [{put}, {{name: g, type: s3, s3: {{secret: store, bucket: {bucket}, key: b}}}}]")
    assert "is not text" in run.message
    get = f"{{name: g, type: s3, s3: {{secret: store, bucket: {bucket}, key: b, max_bytes: 99}}}}"
    assert "the object is larger than 99 bytes" in run_flow(f"steps: [{get}]").message


def test_the_settings_cannot_be_sent_away(run_flow: Callable[..., Any], bucket: str) -> None:
    options = f"{{secret: store, bucket: {bucket}, mode: put, key: k, path: secrets.yml}}"
    run = run_flow(f"steps: [{{name: p, type: s3, s3: {options}}}]")
    assert run.status == "failed"
    assert "secrets.yml" in run.message
