"""What `table` promises: formats, types, whole files, rows added once, sums and sieves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scflows.connectors.tables.append_file import FileAppender
from scflows.connectors.tables.group import FUNCTIONS
from scflows.connectors.tables.options import USED
from scflows.errors import MissingExtra, StepError

pytestmark = pytest.mark.language("§10 table")

ROWS = [
    {"id": 1, "name": "Plaça", "ok": True, "v": 1.5, "day": "2024-03-05", "at": "2024-03-05T10:20:30"},
    {"id": 2, "name": 'a "quoted", text\nin two lines', "ok": False, "v": None, "day": None, "at": None},
]
KINDS = {"id": "integer", "name": "text", "ok": "boolean", "v": "number", "day": "date", "at": "datetime"}
FILES = ["t.csv", "t.tsv", "t.jsonl", "t.ndjson", "t.parquet", "t.xlsx"]


@pytest.fixture(autouse=True)
def libraries(request):
    name = str(request.node.name)
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    if "xlsx" in name:
        pytest.importorskip("openpyxl")


def test_a_flow_reads_sums_up_and_adds(run_flow, workspace):
    (workspace / "data").mkdir()
    (workspace / "data/in.csv").write_text("station,time,temp\nb,2010/01/01 00:00,3\na,2010/01/01 01:00,\nb,,4.5\n")
    flow = """
        steps:
          - {name: all, type: table, table: {path: "{{ __input__ }}.csv", columns: {time: datetime, temp: number}}}
          - {name: warm, type: table, table: {mode: filter, data_key: all, where: [temp is not none, temp > 2]}}
          - name: sums
            type: table
            table: {mode: group, data_key: all, by: [station], values: {n: count, mean: "mean:temp"}}
          - {name: keep, type: table, table: {mode: append, path: out.csv, data_key: sums, unique: [station]}}
          - {name: whole, type: table, table: {mode: write, path: warm.jsonl, data_key: warm, columns: [temp, time]}}
    """
    run = run_flow(flow, payload="in")
    assert run.status == "success", run.message
    assert run.result["all"][0] == {"station": "b", "time": "2010-01-01T00:00:00", "temp": 3}
    assert run.result["sums"] == [{"station": "a", "n": 1, "mean": None}, {"station": "b", "n": 2, "mean": 3.75}]
    assert run.result["keep"] == {"rows": 2, "skipped": 0}
    assert run_flow(flow, payload="in").result["keep"] == {"rows": 0, "skipped": 2}
    assert (workspace / "data/out.csv").read_text() == "station,n,mean\na,1,\nb,2,3.75\n"
    assert (workspace / "data/warm.jsonl").read_text() == (
        '{"temp": 3, "time": "2010-01-01T00:00:00"}\n{"temp": 4.5, "time": null}\n'
    )


@pytest.mark.parametrize("path", FILES)
def test_rows_survive_every_format(table, path):
    assert table("write", ROWS, path=path, columns=KINDS) == {"rows": 2, "skipped": 0}
    assert table("read", path=path, columns=KINDS) == ROWS
    assert table("read", path=path, columns=KINDS, limit=1) == ROWS[:1]
    assert [list(row) for row in table("read", path=path, columns=["v", "id"])] == [["v", "id"]] * 2


@pytest.mark.parametrize("path", FILES)
def test_rows_are_added_to_every_format(table, path):
    assert table("append", ROWS[:1], path=path, columns=KINDS) == {"rows": 1, "skipped": 0}
    assert table("append", ROWS, path=path, columns=KINDS, unique=["id"]) == {"rows": 1, "skipped": 1}
    assert table("append", [ROWS[0], ROWS[0]], path=path, columns=KINDS, unique=["id"]) == {"rows": 0, "skipped": 2}
    assert table("read", path=path, columns=KINDS) == ROWS


@pytest.mark.parametrize("path", FILES)
def test_a_table_without_rows_stays_one(table, path):
    table("write", [], path=path, columns=KINDS)
    assert table("read", path=path, columns=KINDS if path != "t.jsonl" else None) == []
    table("append", ROWS, path=path, columns=KINDS)
    assert table("read", path=path, columns=KINDS) == ROWS


@pytest.mark.parametrize("path", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_no_rows_of_no_columns_can_be_written_and_read(table, path):
    table("write", [], path=path)
    assert table("read", path=path) == []


@pytest.mark.parametrize("path", FILES)
def test_a_file_of_another_kind_is_a_step_error(table, data_folder, path):
    (data_folder / path).write_bytes(b"\xff\xfe\x00 neither this nor that")
    with pytest.raises(StepError, match=rf"^{path}"):
        table("read", path=path)


@pytest.mark.parametrize("path", ["t.csv", "t.parquet", "t.xlsx"])
def test_a_file_of_no_bytes_is_a_step_error(table, data_folder, path):
    (data_folder / path).touch()
    with pytest.raises(StepError, match=rf"^{path}: "):
        table("read", path=path)


@pytest.mark.parametrize("library", ["parquet", "xlsx"])
def test_a_library_that_is_not_there_is_named_with_its_extra(table, data_folder, monkeypatch, library):
    for module in ("openpyxl", "python_calamine", "xlsxwriter", "pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    (data_folder / f"t.{library}").touch()
    for mode, rows in (("read", None), ("write", ROWS)):
        with pytest.raises(MissingExtra, match=r"pip install 'scflows\[(parquet|excel)\]'"):
            table(mode, rows, path=f"t.{library}")


def test_the_format_may_be_named(table, data_folder):
    table("write", ROWS[:1], path="t.txt", format="tsv", columns=["id", "name"])
    assert (data_folder / "t.txt").read_text() == "id\tname\n1\tPlaça\n"
    with pytest.raises(StepError, match="has none of the known extensions"):
        table("read", path="t.{{ x }}")


def test_empty_cells_are_null_only_where_there_is_a_type(table, data_folder):
    (data_folder / "t.csv").write_text("a,b,c\n,,\n")
    assert table("read", path="t.csv", columns={"b": "text", "c": "integer"}) == [{"a": "", "b": None, "c": None}]


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("integer", " 450 ", 450),
        ("integer", "450.0", 450),
        ("integer", "-0", 0),
        ("number", "450", 450),
        ("number", "1e3", 1000.0),
        ("number", "-.5", -0.5),
        ("boolean", "Yes", True),
        ("boolean", "0", False),
        ("date", "2010/01/31", "2010-01-31"),
        ("date", "2010-01-31T00:00:00", "2010-01-31"),
        ("datetime", "2010/01/31 05:00", "2010-01-31T05:00:00"),
        ("datetime", "2010-01-31T05:00Z", "2010-01-31T05:00:00+00:00"),
        ("datetime", "2010-01-31", "2010-01-31T00:00:00"),
        ("text", " 07", " 07"),
    ],
)
def test_a_cell_becomes_what_its_type_says(table, data_folder, kind, cell, value):
    (data_folder / "t.csv").write_text(f"v\n{cell}\n")
    found = table("read", path="t.csv", columns={"v": kind})[0]["v"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("integer", "4.5"),
        ("integer", "four"),
        ("integer", "1_000"),
        ("integer", "٣"),
        ("number", "nan"),
        ("number", "inf"),
        ("number", "1,5"),
        ("boolean", "maybe"),
        ("date", "31/01/2010"),
        ("date", "2010-02-30"),
        ("date", "2010-01-31T05:00"),
        ("datetime", "now"),
    ],
)
def test_a_cell_that_is_none_of_its_type_is_named(table, data_folder, kind, cell):
    (data_folder / "in").mkdir()
    (data_folder / "in/t.csv").write_text(f'w,v\n"two\nlines",\n\n,"{cell}"\n', encoding="utf-8")
    with pytest.raises(StepError) as caught:
        table("read", path="in/t.csv", columns={"v": kind})
    assert str(caught.value) == f"in/t.csv: row 5, column 'v': {cell!r} is not a valid {kind}"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a,b\n1\n", "row 2 has 1 cells, the header 2"),
        ("a,b\n1,2\n1,2,3\n", "row 3 has 3 cells, the header 2"),
        ("a,a\n1,2\n", "two columns are named 'a'"),
        ('a,b\n1,"2\n', "line 2: unexpected end of data"),
        ("b\n1\n", "column 'a' not found; the columns are b"),
    ],
)
def test_a_csv_that_is_not_sound_is_a_step_error(table, data_folder, content, told):
    (data_folder / "t.csv").write_text(content)
    with pytest.raises(StepError) as caught:
        table("read", path="t.csv", columns={"a": "text"})
    assert str(caught.value) == f"t.csv: {told}"


def test_a_csv_may_have_a_mark_blank_lines_and_long_cells(table, data_folder):
    (data_folder / "t.csv").write_text("\ufeffa\r\n\r\n" + "x" * 200_000 + "\r\n", newline="")
    assert table("read", path="t.csv") == [{"a": "x" * 200_000}]


def test_json_lines_name_the_row_that_is_none(table, data_folder):
    (data_folder / "t.jsonl").write_text('{"a": 1}\n\n[2]\n')
    with pytest.raises(StepError, match=r"^t\.jsonl: row 3 is not a mapping$"):
        table("read", path="t.jsonl")


def test_a_missing_file_is_an_error_unless_it_means_no_rows(table):
    with pytest.raises(StepError, match=r"^gone\.csv: No such file"):
        table("read", path="gone.csv")
    assert table("read", path="gone.csv", missing="empty") == []


@pytest.mark.parametrize("name", ["new.csv", "new.xlsx", "new.parquet"])
def test_a_file_to_which_another_run_is_about_to_add_its_first_rows_has_none(table, workspace, name):
    with FileAppender(str(workspace / "data" / name)):
        assert table("read", path=name, missing="empty", columns={"a": "number"}) == []
        with pytest.raises(StepError, match=r"^new\."):
            table("read", path=name)


@pytest.mark.language("§4 Paths")
def test_no_path_leads_out_of_the_data_folder(table):
    for mode, rows in (("read", None), ("write", ROWS), ("append", ROWS)):
        with pytest.raises(StepError, match="leads out"):
            table(mode, rows, path="../t.csv")


@pytest.mark.parametrize("rows", [5, {"a": 1}, [1], [{"a": 1}, None]])
def test_only_a_list_of_mappings_is_a_table(table, rows):
    with pytest.raises(StepError, match=r"not a list of mappings|is not a mapping"):
        table("write", rows, path="t.csv")


def test_rows_need_not_have_the_same_columns(table, data_folder):
    table("write", [{"a": 1}, {"b": [1, {"c": None}], "a": "x"}], path="t.csv")
    assert (data_folder / "t.csv").read_text() == 'a,b\n1,\nx,"[1, {""c"": null}]"\n'


def test_a_mapping_of_columns_puts_them_first_and_a_list_alone(table, data_folder):
    table("write", [{"a": 1, "b": 2}], path="t.csv", columns={"b": "integer"})
    assert (data_folder / "t.csv").read_text() == "b,a\n2,1\n"
    table("write", [{"a": 1, "b": 2}], path="t.csv", columns=["c", "b"])
    assert (data_folder / "t.csv").read_text() == "c,b\n,2\n"


def test_a_column_the_file_does_not_have_adds_nothing(table, data_folder):
    (data_folder / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StepError, match=r"^t\.csv has no column 'c'; its columns are a, b$"):
        table("append", [{"a": 3}, {"c": 4}], path="t.csv")
    assert (data_folder / "t.csv").read_text() == "a,b\n1,2\n"


def test_added_rows_follow_the_header_and_the_last_line_is_ended_first(table, data_folder):
    (data_folder / "t.csv").write_text("a,b\n1,2")
    table("append", [{"b": 4}, {"b": 6, "a": 5}], path="t.csv")
    assert (data_folder / "t.csv").read_text() == "a,b\n1,2\n,4\n5,6\n"


def test_nothing_to_add_makes_no_file(table, data_folder):
    assert table("append", [], path="t.csv", unique=["a"]) == {"rows": 0, "skipped": 0}
    assert os.listdir(data_folder) == []


def test_a_key_is_the_same_in_any_spelling_its_type_allows(table, data_folder):
    (data_folder / "t.csv").write_text("at,n\n2010/01/01 00:00,1.0\n")
    rows = [{"at": "2010-01-01T00:00:00", "n": 1}, {"at": "2010-01-01", "n": "1"}, {"at": "2010-01-01", "n": 2}]
    options = {"path": "t.csv", "columns": {"at": "datetime", "n": "integer"}, "unique": ["at", "n"]}
    assert table("append", rows, **options) == {"rows": 1, "skipped": 2}


def test_a_key_column_must_be_there(table, data_folder):
    with pytest.raises(StepError, match="unique: the rows have no column 'k'"):
        table("append", [{"a": 1}], path="t.csv", unique=["k"])


def test_a_full_disk_and_half_a_character_leave_the_old_file(table, data_folder):
    (data_folder / "t.csv").write_text("a\n1\n")
    for mode in ("write", "append"):
        with pytest.raises(StepError, match="half a surrogate pair"):
            table(mode, [{"a": "\ud800"}], path="t.csv")
    assert os.listdir(data_folder) == ["t.csv"]
    assert (data_folder / "t.csv").read_text() == "a\n1\n"


ADD_ROWS = """
import sys
from scflows.connectors.tables.add_rows import add_rows
from scflows.connectors.tables.column import Columns
path, name = sys.argv[1:]
for number in range(20):
    rows = [{"who": name, "n": number}, {"who": "all", "n": number}]
    add_rows(path, "t.csv", "csv", Columns(), rows, ["who", "n"])
"""


def test_processes_that_add_at_once_mix_no_lines_and_double_no_keys(table, data_folder):
    writers = [subprocess.Popen([sys.executable, "-c", ADD_ROWS, data_folder / "t.csv", name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    rows = table("read", path="t.csv", columns={"n": "integer"})
    assert sorted((row["who"], row["n"]) for row in rows) == sorted(
        (who, n) for who in ("a", "b", "c", "all") for n in range(20)
    )


@pytest.mark.parametrize(
    ("function", "result"),
    [
        ("count", 3),
        ("sum", 9),
        ("mean", 3.0),
        ("min", 1),
        ("max", 5),
        ("median", 3),
        ("std", 2.0),
        ("first", 3),
        ("last", 5),
    ],
)
def test_functions_leave_null_out(table, function, result):
    rows = [{"v": None}, {"v": 3}, {"v": 1}, {"v": 5}, {"v": None}]
    assert table("group", rows, by=[], values={"r": f"{function}:v"}) == [{"r": result}]
    nothing = table("group", [{"v": None}], by=[], values={"r": {"function": function, "column": "v"}})
    assert nothing == [{"r": 0 if function in ("count", "sum") else None}]


def test_every_function_is_tested():
    marks = test_functions_leave_null_out.pytestmark
    assert {case[0] for mark in marks for case in mark.args[1]} == set(FUNCTIONS)


def test_groups_are_in_the_order_of_their_keys_null_last(table):
    rows = [{"k": k, "v": 1} for k in ("b", None, 10, "a", 9, True, None, 1, "a")]
    found = table("group", rows, by=["k"], values={"n": "count", "s": "sum:v"})
    assert [(row["k"], row["n"]) for row in found] == [
        (True, 1),
        (1, 1),
        (9, 1),
        (10, 1),
        ("a", 2),
        ("b", 1),
        (None, 2),
    ]


def test_equal_values_have_no_spread_and_whole_numbers_stay_whole(table):
    rows = [{"v": 0.1}] * 3
    assert table("group", rows, by=[], values={"d": "std:v"}) == [{"d": 0.0}]
    whole = table("group", [{"v": 2}, {"v": 3}], by=[], values={"s": "sum:v", "m": "median:v"})[0]
    assert (whole["s"], type(whole["s"]), whole["m"]) == (5, int, 2.5)


def test_no_rows_give_no_groups_and_one_row_of_all(table):
    assert table("group", [], by=["k"], values={"n": "count"}) == []
    assert table("group", [], by=[], values={"n": "count", "m": "max:v"}) == [{"n": 0, "m": None}]


@pytest.mark.parametrize(
    ("rows", "value", "told"),
    [
        ([{"v": 1}, {"v": "2"}], "mean:v", "'rows': row 2, column 'v': '2' is not a number; give the column a type"),
        ([{"v": 1}, {"v": "2"}], "max:v", "column 'v': max does not support a mix of texts and numbers"),
        ([{"v": 1e308}, {"v": 1e308}], "sum:v", "column 'v': its sum is too large"),
        ([{"v": 1}], "max:w", "column 'w' not found; the columns are v"),
    ],
)
def test_what_cannot_be_summed_up_is_a_step_error(table, rows, value, told):
    with pytest.raises(StepError) as caught:
        table("group", rows, by=[], values={"r": value})
    assert told.removeprefix("'rows': ") in str(caught.value)


def test_types_apply_before_summing_up(table):
    rows = [{"v": "1.5"}, {"v": ""}, {"v": "2"}]
    assert table("group", rows, by=[], values={"s": "sum:v"}, columns={"v": "number"}) == [{"s": 3.5}]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("v > 1", [2, 3]),
        (["v > 1", "v < 3"], [2]),
        ("row.v == 3", [3]),
        ("row['odd name'] == 'x'", [1]),
        ("__job_id__ == '7' and v == 1", [1]),
        ("v >= limit_of", [2, 3]),
        ("limit_of is none", []),
        (False, []),
        ([], [1, 2, 3]),
    ],
)
def test_rows_are_kept_where_all_conditions_hold(table, where, kept):
    rows = [{"v": 1, "odd name": "x"}, {"v": 2}, {"v": 3}]
    assert [row["v"] for row in table("filter", rows, where=where)] == kept


def test_a_column_hides_other_data_also_where_it_is_missing(table):
    rows = [{"limit_of": 1, "n": 1}, {"n": 2}]
    assert table("filter", rows, where="limit_of is none") == [{"n": 2}]


def test_a_sieve_picks_columns_and_stops_at_its_limit(table):
    rows = [{"a": 1, "b": 2}, {"a": 3, "b": 4}, {"b": 6}]
    assert table("filter", rows, columns=["b"]) == [{"b": 2}, {"b": 4}, {"b": 6}]
    assert table("filter", rows, where="b > 2", limit=1) == [{"a": 3, "b": 4}]
    assert table("filter", rows, limit=0) == []


def test_a_condition_that_breaks_is_a_step_error(table):
    with pytest.raises(StepError, match="not supported between"):
        table("filter", [{"v": "x"}], where="v < 3")


def test_formulas_are_texts_in_excel(table, data_folder):
    pytest.importorskip("openpyxl")
    rows = [{"a": "=1+1", "b": "+x"}]
    table("write", rows, path="t.xlsx")
    table("append", rows, path="t.xlsx")
    assert table("read", path="t.xlsx") == rows * 2
    for text, told in (("x" * 40_000, "40000 characters"), ("\x01", "control characters")):
        with pytest.raises(StepError, match=told):
            table("write", [{"a": text}], path="t.xlsx")


def test_times_with_a_zone_survive_parquet(table):
    pytest.importorskip("pyarrow")
    rows = [{"at": "2024-03-05T10:20:30+01:00"}]
    table("write", rows, path="t.parquet", columns={"at": "datetime"})
    assert table("read", path="t.parquet") == [{"at": "2024-03-05T09:20:30+00:00"}]
    with pytest.raises(StepError, match="column 'v'"):
        table("write", [{"v": 1}, {"v": "x"}], path="t.parquet")


def test_a_dry_run_writes_nothing(run_flow, workspace):
    run = run_flow(
        """
        steps:
          - {name: w, type: table, table: {mode: write, path: a.csv, data_key: __errors__}}
          - {name: a, type: table, table: {mode: append, path: a.csv, data_key: __errors__}}
        """,
        dry_run=True,
    )
    assert run.status == "success"
    assert "would write a.csv" in run.log
    assert "would append to a.csv" in run.log
    assert run.result["a"] == {"rows": 0, "skipped": 0}
    assert not (workspace / "data").exists()


@pytest.mark.parametrize("mode", USED)
def test_each_mode_asks_for_what_it_needs(mistakes, mode):
    needed = USED[mode][: USED[mode].index("|")]
    found = mistakes("table", {"mode": mode})
    named = [line.partition(":")[0] for line in found]
    assert named[: len(needed)] == list(needed)
    # Those that work on data as well as on files need one of several options.
    assert set(named[len(needed) :]) <= {"data_key", "time", "right_key", "rules"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"path": "a.doc"}, "path: 'a.doc' has none of the known extensions"),
        ({"path": "a.csv", "where": "x"}, "where: option 'where' has no effect in mode 'read'"),
        ({"path": "a.csv", "columns": {"v": "float"}}, "columns: column 'v': unknown type 'float'"),
        ({"path": "a.csv", "columns": ["v", 5]}, "columns: 'columns' must be a list of column names"),
        (
            {"mode": "group", "data_key": "r", "by": ["k"], "values": {"m": "average:v"}},
            "values: 'm': unknown function",
        ),
        ({"mode": "group", "data_key": "r", "by": ["k"], "values": {"m": "mean"}}, "values: 'm': mean needs a column"),
        ({"mode": "group", "data_key": "r", "by": ["k"], "values": {"m": {"of": "v"}}}, "values: 'm': use"),
        ({"mode": "group", "data_key": "r", "by": [1], "values": {}}, "by: 'by' must be a list of column names"),
        ({"mode": "filter", "data_key": "r", "where": "v >"}, "where: condition"),
        ({"mode": "filter", "data_key": "r", "where": [{}]}, "where: a condition must be text"),
    ],
)
def test_options_that_cannot_be_are_mistakes(mistakes, options, told):
    assert [found.startswith(told) for found in mistakes("table", options)] == [True]


LARGE = 2**64 + 1
TEXTS = [
    "one\rtwo", "a\r\nb\n", "\r", '"', ',;\t"', "\ufeffmark", " blanks ", "=1+1", "_x000D_", "_x005F_x0041_",
    "\u2028\x85", "Àéø😀", "1e5", "#N/A", "true", "\x7f",
]  # fmt: skip


@pytest.mark.parametrize("path", ["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.xlsx"])
def test_a_text_comes_back_as_it_was(table, path):
    rows = [{"id": str(number), "text\r" if path != "t.xlsx" else "text": text} for number, text in enumerate(TEXTS)]
    table("write", rows, path=path)
    assert table("read", path=path) == rows
    table("append", rows[:2], path=path)
    assert table("read", path=path) == rows + rows[:2]


@pytest.mark.parametrize("path", ["t.csv", "t.tsv"])
def test_unique_sees_texts_with_carriage_returns(table, path):
    rows = [{"note": "a\rb", "n": 1}, {"note": "\r", "n": 2}]
    for added in (2, 0):
        assert table("append", rows, path=path, unique=["note"]) == {"rows": added, "skipped": 2 - added}


def test_lines_may_end_with_a_carriage_return_alone(table, data_folder):
    (data_folder / "old.csv").write_bytes(b'a,b\r1,2\r3,"4\r5"\r')
    assert table("read", path="old.csv") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4\r5"}]


@pytest.mark.parametrize(
    ("content", "options", "rows"),
    [
        ("a;b\n1,5;2\n", {}, [{"a": "1,5", "b": "2"}]),
        ("a\tb\n1;5\t2\n", {}, [{"a": "1;5", "b": "2"}]),
        ('"a,x";b\n1;2\n', {}, [{"a,x": "1", "b": "2"}]),
        ('"a;x",b\n1,2\n', {}, [{"a;x": "1", "b": "2"}]),
        ("a;x,b\n1,2\n", {}, [{"a;x": "1", "b": "2"}]),
        ("a\n1;2\n", {}, [{"a": "1;2"}]),
        ("a;x,b\n1,5;2\n", {"delimiter": ";"}, [{"a": "1,5", "x,b": "2"}]),
        ("a|b\n1|2\n", {"delimiter": "|"}, [{"a": "1", "b": "2"}]),
        ("a;b\n1;2\n", {"delimiter": ","}, [{"a;b": "1;2"}]),
    ],
)
def test_the_delimiter_is_that_of_the_header_or_the_given_one(table, data_folder, content, options, rows):
    (data_folder / "t.csv").write_text(content)
    assert table("read", path="t.csv", **options) == rows
    table("append", rows, path="t.csv", **options)
    assert table("read", path="t.csv", **options) == rows * 2


def test_a_delimiter_is_written_as_given(table, data_folder):
    table("write", [{"a": "1,5", "b": "x;y"}], path="t.csv", delimiter=";")
    assert (data_folder / "t.csv").read_text() == 'a;b\n1,5;"x;y"\n'


NUMBERS = [0.1 + 0.2, 1e300, -5e-324, 1e16, 9007199254740993, -LARGE, 123456.789, 1.0, 0]


@pytest.mark.parametrize("path", ["t.csv", "t.jsonl", "t.parquet", "t.xlsx"])
@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize("mode", ["write", "append"])
def test_a_number_comes_back_as_it_was_or_is_refused(table, path, value, mode):
    rows = [{"n": 7.5}, {"n": value}] if mode == "write" else [{"n": value}]
    if mode == "append":
        table("write", [{"n": 7.5}], path=path)
    if isinstance(value, int) and value and path in ("t.xlsx", "t.parquet"):
        with pytest.raises(StepError, match="column 'n'"):
            table(mode, rows, path=path)
        return
    table(mode, rows, path=path)
    assert table("read", path=path, columns={"n": "number"})[-1] == {"n": value}


def test_a_workbook_keeps_the_digits_of_what_it_holds_when_rows_are_added(table):
    table("write", [{"n": 0.1 + 0.2}], path="t.xlsx")
    table("append", [{"n": 1}], path="t.xlsx")
    assert table("read", path="t.xlsx") == [{"n": 0.30000000000000004}, {"n": 1}]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("12345678901234567.0", "integer", 12345678901234567),
        ("1e30", "integer", 10**30),
        ("18446744073709551617", "integer", LARGE),
        ("18446744073709551617", "number", LARGE),
        ("0.1000000000000000055511151231257827", "number", 0.1),
        ("1.50", "number", 1.5),
        ("0.1234567890123456789", "number", None),
        ("1e-400", "number", None),
        ("1e400", "number", None),
        ("12345678901234567.5", "integer", None),
        ("nan", "number", None),
        ("1e9999999", "integer", None),
    ],
)
def test_a_column_of_numbers_is_exact(table, text, kind, value):
    if value is None:
        with pytest.raises(StepError, match=r"row 1, column 'n': .*(more digits|too large|not a valid)"):
            table("filter", [{"n": text}], columns={"n": kind})
    else:
        assert repr(table("filter", [{"n": text}], columns={"n": kind})) == repr([{"n": value}])


def test_earliest_and_latest_are_those_of_the_instants(table):
    rows = [{"t": text} for text in ("2026-10-25T02:30:00+02:00", "2026-10-25T02:10:00+01:00", "2026-10-25T00:45:00Z")]
    found = table("group", rows, by=[], values={"first": "min:t", "last": "max:t"})
    assert found == [{"first": rows[0]["t"], "last": rows[1]["t"]}]
    with pytest.raises(StepError, match="times with and without an offset"):
        table("group", [*rows, {"t": "2026-10-25T00:45:00"}], by=[], values={"last": "max:t"})


@pytest.mark.parametrize("function", ["sum", "mean", "std"])
def test_a_group_does_not_round_integers(table, function):
    rows = [{"n": 9007199254740993}, {"n": 0.5}, {"n": 2}]
    with pytest.raises(StepError, match=f"column 'n': {function} would round 9007199254740993"):
        table("group", rows, by=[], values={"v": f"{function}:n"})
    assert table("group", rows[:1] * 3, by=[], values={"v": "sum:n"}) == [{"v": 3 * 9007199254740993}]


@pytest.mark.parametrize("size", ["A1", "A1:B2", "B2:C3", "A1:XFD1048576"])
def test_a_workbook_is_read_whole_whatever_size_its_sheet_states(table, data_folder, size):
    import re
    import zipfile

    rows = [{"id": number, "name": "n", "v": number / 2} for number in range(1, 5)]
    table("write", rows, path="t.xlsx")
    with zipfile.ZipFile(data_folder / "t.xlsx") as book, zipfile.ZipFile(data_folder / "u.xlsx", "w") as other:
        for name in book.namelist():
            content = book.read(name)
            if name.endswith("sheet1.xml"):
                content = re.sub(rb"<dimension [^>]*/>", b"", content)
                content = content.replace(b"<sheetData>", b'<dimension ref="%s"/><sheetData>' % size.encode())
            other.writestr(name, content)
    assert table("read", path="u.xlsx") == rows
    table("append", rows[:1], path="u.xlsx")
    assert table("read", path="u.xlsx") == rows + rows[:1]
