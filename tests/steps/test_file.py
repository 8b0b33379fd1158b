"""What `file` promises: three formats, whole files or none, no way out of the data folder."""

from __future__ import annotations

import os
from datetime import date

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as some

from scflows.documents import parse_json, parse_yaml, yaml_text
from scflows.errors import StepError

pytestmark = pytest.mark.language("§4 file")

JSON_VALUES = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(some.characters(exclude_categories=["Cs"])),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text("ab=<: -'\n1", max_size=6), inner),
    max_leaves=12,
)


@pytest.mark.language("§2 Steps")
def test_what_is_written_can_be_read(run_flow, workspace):
    run = run_flow(
        """
        steps:
          - {name: w, type: file, file: {path: "out/{{ __input__.day }}.yml", mode: write, data_key: __input__}}
          - {name: r, type: file, file: {path: out/5.yml}}
        """,
        payload={"day": 5, "rows": [{"a": None}, {"é": [1.5, True]}]},
    )
    assert run.status == "success", run.message
    assert run.result["r"] == {"day": 5, "rows": [{"a": None}, {"é": [1.5, True]}]}
    assert run.result["w"] == {}
    assert (workspace / "data/out/5.yml").read_text() == "day: 5\nrows:\n- a: null\n- é:\n  - 1.5\n  - true\n"


def test_a_dry_run_writes_nothing(run_flow, workspace):
    run = run_flow("steps: [{name: w, type: file, file: {path: out/a.yml, mode: append, data_key: .}}]", dry_run=True)
    assert run.status == "success"
    assert "would append to out/a.yml" in run.log
    assert not (workspace / "data").exists()


@how(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON_VALUES)
def test_any_value_survives_yaml_without_tags_or_aliases(value):
    text = yaml_text(value)
    assert parse_yaml(text, "it") == value
    assert yaml.safe_load(text) == value


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_one_list_held_twice_is_written_twice(perform, data_folder, kind):
    shared = [1]
    perform("file", {"path": "a", "mode": "write", "type": kind, "data_key": "v"}, {"v": [shared, shared]})
    text = (data_folder / "a").read_text()
    assert "&" not in text
    assert perform("file", {"path": "a", "type": kind}) == [[1], [1]]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("yaml", "", None),
        ("yaml", "# nothing\n", None),
        ("yaml", "a: 1\n", {"a": 1}),
        ("yaml", "a: 1\n---\n- 2\n", [{"a": 1}, [2]]),
        ("yaml", "{2: a, null: b, true: c}", {"2": "a", "null": "b", "true": "c"}),
        (
            "yaml",
            f"day: {date(2024, 3, 5)}\nat: 2024-03-05 10:20:30\n",
            {"day": "2024-03-05", "at": "2024-03-05T10:20:30"},
        ),
        ("yaml", "a: &x [1]\nb: *x\n", {"a": [1], "b": [1]}),
        ("json", "\ufeff[1, 2]\n", [1, 2]),
        ("json", '{"a": 1}\n', {"a": 1}),
        ("json", '{"a": 1}\n\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ("json", "[\n1\n]\n[2]", [[1], [2]]),
        ("json", '"\\u00e9 \\ud83d\\ude00"', "é 😀"),
        ("text", "as it is\r\n", "as it is\r\n"),
        ("text", "", ""),
    ],
)
def test_reading_gives_the_value(perform, data_folder, kind, text, value):
    (data_folder / "it").write_text(text, encoding="utf-8", newline="")
    assert perform("file", {"path": "it", "type": kind}) == value


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("kind", "content", "told"),
    [
        ("yaml", "a: [", "in/it: YAML: "),
        ("yaml", "a: !!python/name:os.system x", "unknown tag"),
        ("yaml", BOMB, "aliases add more than"),
        ("yaml", "&a [*a]", "refers to itself"),
        ("yaml", "[" * 100_000, "nested more than 200 levels deep (line 1, column 201)"),
        ("yaml", "- " * 100_000 + "x", "nested more than 200 levels deep (line 1, column 401)"),
        ("yaml", "a: .nan", "NaN or Infinity"),
        ("yaml", "a: 1.0e+999", "NaN or Infinity"),
        ("yaml", "day: 2024-13-45", "invalid value: month"),
        ("yaml", b"a: \xff", "in/it: not UTF-8 (line 1)"),
        ("json", "", "empty, not JSON"),
        ("json", "{", "invalid JSON: "),
        ("json", "1 2", "invalid JSON: unexpected text after the value (line 1, column 3)"),
        ("json", "[NaN]", "NaN is not a JSON value"),
        ("json", "[-Infinity]", "-Infinity is not a JSON value"),
        ("json", "[1e999]", "1e999 is too large"),
        ("json", "[" * 100_000, "nested too deeply"),
        ("json", "[" * 500 + "]" * 500, "nested more than 200"),
        ("json", b"\n\xff", "in/it: not UTF-8 (line 2)"),
        ("text", b"\xff", "in/it: not UTF-8"),
    ],
    ids=lambda value: str(value)[:24] if not isinstance(value, bytes) else value.hex(),
)
def test_content_that_cannot_be_is_an_error_naming_the_path_as_written(perform, data_folder, kind, content, told):
    (data_folder / "in").mkdir()
    (data_folder / "in/it").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StepError) as caught:
        perform("file", {"path": "in/it", "type": kind})
    assert told in str(caught.value)
    assert str(data_folder) not in str(caught.value)


@pytest.mark.language("§4 Paths")
@pytest.mark.parametrize("mode", ["read", "write", "append"])
@pytest.mark.parametrize("path", ["../out", "/etc/hostname", "link/x", "secrets.yml", "flow:../../x", ""])
def test_no_path_leads_out_of_the_data_folder(perform, data_folder, mode, path):
    (data_folder / "link").symlink_to("/tmp")
    with pytest.raises(StepError) as caught:
        perform("file", {"path": path, "mode": mode, "data_key": "v"}, {"v": 1})
    assert repr(path.removeprefix("flow:")) in str(caught.value) or repr(path) in str(caught.value)


@pytest.mark.language("§4 Paths")
def test_a_file_beside_the_flow_is_read_and_never_written(perform, workspace):
    (workspace / "tasks/near.json").write_text("[1]")
    assert perform("file", {"path": "flow:near.json", "type": "json"}) == [1]
    with pytest.raises(StepError, match="read-only"):
        perform("file", {"path": "flow:near.json", "mode": "write", "data_key": "v"}, {"v": 1})


def test_a_missing_file_and_a_folder_are_errors(perform, data_folder):
    with pytest.raises(StepError, match=r"^none\.yml: No such file"):
        perform("file", {"path": "none.yml"})
    (data_folder / "folder").mkdir()
    with pytest.raises(StepError, match=r"^folder: Is a directory"):
        perform("file", {"path": "folder"})


@pytest.mark.language("§4 Paths")
def test_a_missing_key_leaves_the_old_file(perform, data_folder):
    (data_folder / "a.yml").write_text("old: 1\n")
    with pytest.raises(StepError, match="no key 'gone'"):
        perform("file", {"path": "a.yml", "mode": "write", "data_key": "gone"})
    assert (data_folder / "a.yml").read_text() == "old: 1\n"


@pytest.mark.language("§4 Paths")
@pytest.mark.parametrize(
    ("kind", "value"), [("json", float("nan")), ("yaml", float("inf")), ("yaml", "\ud800"), ("text", 5)]
)
def test_what_a_format_cannot_say_leaves_the_old_file(perform, data_folder, kind, value):
    (data_folder / "a").write_text("old")
    with pytest.raises(StepError):
        perform("file", {"path": "a", "mode": "write", "type": kind, "data_key": "v"}, {"v": value})
    assert os.listdir(data_folder) == ["a"]
    assert (data_folder / "a").read_text() == "old"


def test_half_a_character_survives_json(perform):
    perform("file", {"path": "a", "mode": "write", "type": "json", "data_key": "v"}, {"v": "\ud800é"})
    assert perform("file", {"path": "a", "type": "json"}) == "\ud800é"


def test_data_key_is_wanted_before_anything_runs(run_flow):
    run = run_flow("steps: [{name: w, type: file, file: {path: a.yml, mode: write}}]")
    assert (run.status, run.reason) == ("failed", "refused")
    assert "option 'data_key' is missing" in run.message


def appended(perform, kind, *values):
    for value in values:
        perform("file", {"path": "log", "mode": "append", "type": kind, "data_key": "v"}, {"v": value})
    return perform("file", {"path": "log", "type": kind})


def test_json_grows_by_one_value_a_line(perform, data_folder):
    assert appended(perform, "json", {"a": "x\ny"}, [1, 2]) == [{"a": "x\ny"}, [1, 2]]
    assert (data_folder / "log").read_text() == '{"a": "x\\ny"}\n[1, 2]\n'


@pytest.mark.parametrize(
    ("before", "values", "after"),
    [
        (None, [[1], [2, {"a": 3}]], [1, 2, {"a": 3}]),
        (None, [{"a": 1}], {"a": 1}),
        (None, [{"a": 1}, "text", None], [{"a": 1}, "text", None]),
        (None, [[], [1]], [1]),
        (None, [[1], {"a": 2}], [[1], {"a": 2}]),
        (None, [[1], {"a": 2}, [3]], [[1], {"a": 2}, [3]]),
        (None, [[1], {"a": 2}, [3], [4]], [[1], {"a": 2}, [3, 4]]),
        ("# a comment\n", [[1]], [1]),
        ("- 1", [[2]], [1, 2]),
        ("[1, 2]\n", [[3], [4]], [1, 2, 3, 4]),
        ("  - 1\n  - 2\n", [[3]], [1, 2, 3]),
        ("a: 1\n--- [2]\n", [[3]], [{"a": 1}, [2, 3]]),
        ("a: 1\n---\n", [[3]], [{"a": 1}, [3]]),
        ("- 1\n...\n", [[2]], [1, 2]),
        ("a: 1\n...\n---\n- 1\n", [[2]], [{"a": 1}, [1, 2]]),
        ("-\n  a: |\n    ---\n", [[2]], [{"a": "---\n"}, 2]),
        ("text", [[1]], ["text", [1]]),
    ],
)
def test_yaml_grows_by_items_or_by_documents(perform, data_folder, before, values, after):
    if before is not None:
        (data_folder / "log").write_text(before)
    assert appended(perform, "yaml", *values) == after


def test_comments_stay_when_items_are_added(perform, data_folder):
    (data_folder / "log").write_text("# kept\n- 1 # too\n")
    assert appended(perform, "yaml", [2]) == [1, 2]
    assert (data_folder / "log").read_text() == "# kept\n- 1 # too\n- 2\n"


def test_a_broken_yaml_file_is_not_added_to(perform, data_folder):
    (data_folder / "log").write_text("{a: ")
    with pytest.raises(StepError, match="log: YAML"):
        appended(perform, "yaml", [2])
    assert (data_folder / "log").read_text() == "{a: "


def test_json_of_one_value_is_not_read_as_lines():
    with pytest.raises(StepError, match="unexpected text"):
        parse_json("1\n2", "it")


@pytest.mark.parametrize(
    ("kind", "content", "value"),
    [
        ("json", "[18446744073709551617, 0.30000000000000004]", [18446744073709551617, 0.1 + 0.2]),
        ("json", "0.1000000000000000055511151231257827", 0.1),
        ("json", '[1,\n {"pi": 3.14159265358979323846}]', "line 2, column 9"),
        ("json", "1e-400", "line 1, column 1"),
        ("yaml", "[18446744073709551617, 0.30000000000000004, 1_000.5]", [18446744073709551617, 0.1 + 0.2, 1000.5]),
        ("yaml", "a: 1\npi: 3.14159265358979323846", "line 2, column 5"),
        ("yaml", "2026-03-05T10:20:30.123456789Z", "2026-03-05T10:20:30.123456789+00:00"),
        ("yaml", "2026-03-05 10:20:30.1234567", "2026-03-05T10:20:30.1234567"),
        ("yaml", "2026-03-05T10:20:30.120000000Z", "2026-03-05T10:20:30.120000+00:00"),
    ],
)  # fmt: skip
def test_a_number_or_time_is_exact_or_refused(run_flow, data_folder, kind, content, value):
    (data_folder / "f").write_text(content)
    run = run_flow(f"steps: [{{name: s, type: file, file: {{path: f, type: {kind}}}}}]")
    if isinstance(value, str) and value.startswith("line"):
        assert run.status == "failed"
        assert value in run.message
    else:
        assert run.result["s"] == value


def test_a_flow_file_with_a_number_that_cannot_be_held_is_refused(run_flow):
    run = run_flow("steps:\n  - name: s\n    type: set_fact\n    set_fact: {value: 0.1234567890123456789}\n")
    assert (run.status, run.result) == ("failed", {})
    assert ":4:" in run.message
    assert "0.1234567890123456789 has more digits than a number can hold" in run.message
