"""Operations of `table` that make a new table: add_column, zscore, join, pivot, validate, convert; references."""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from scflows.connectors.tables import reference
from scflows.errors import StepError


def write(folder: Path, name: str, text: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return name


@pytest.fixture
def score(table, data_folder):
    """The scores of a column of a CSV file, as text."""

    def run(*cells: str, **options) -> list[str]:
        write(data_folder, "a.csv", "isin,nav\n" + "".join(f"X{at},{cell}\n" for at, cell in enumerate(cells)))
        table("zscore", path="a.csv", column="nav", to="z.csv", **options)
        header, *lines = (data_folder / "z.csv").read_text().splitlines()
        assert header == "isin,nav,z_score_nav"
        assert [line.split(",")[1] for line in lines] == list(cells)
        return [line.split(",")[2] for line in lines]

    return run


def test_a_z_score_is_divided_by_the_population_deviation(score):
    assert [float(each) for each in score("2", "4", "4", "4", "5", "5", "7", "9")] == [-1.5, *[-0.5] * 3, 0, 0, 1, 2]
    sample = statistics.stdev([1, 2, 4])
    assert float(score("1", "2", "4", ddof=1)[0]) == pytest.approx((1 - 7 / 3) / sample)


def test_a_blank_cell_has_a_blank_score_and_the_others_keep_theirs(score):
    assert score("1", "", "3", " ") == ["-1.0", "", "1.0", ""]


@pytest.mark.parametrize("cells", [["0.1"] * 3, ["5"], ["", ""], [], ["1", "1.0"], ["1e300"] * 7])
def test_without_a_spread_all_scores_are_blank(score, cells):
    assert score(*cells) == [""] * len(cells)


def test_large_values_that_differ_little_and_extreme_values_are_exact(score):
    values = [1e9 + each / 8 for each in range(5)]
    found = [float(each) for each in score(*map(repr, values))]
    assert found == pytest.approx([(each - 2) / math.sqrt(2) for each in range(5)], abs=1e-12)
    for extreme in (["1e-300", "3e-300"], ["1e300", "3e300"]):
        assert [float(each) for each in score(*extreme)] == pytest.approx([-1, 1], abs=1e-12)
    with pytest.raises(StepError, match="too large for a standard deviation"):
        score("-1.7e308", "1.7e308", "1.7e308")


def test_the_score_is_that_of_the_definition(score):
    chosen = random.Random(7)
    values = [chosen.gauss(100, 15) for _ in range(500)]
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    expected = [(each - mean) / deviation for each in values]
    assert [float(each) for each in score(*map(repr, values))] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("cell", ["not yet", "1_000", "nan", "٣", "inf"])
def test_a_text_that_is_not_a_number_is_an_error_with_row_and_column(score, cell):
    with pytest.raises(StepError) as caught:
        score("1", cell)
    assert str(caught.value) == f"a.csv: row 3, column 'nav': {cell!r} is not a number"


@pytest.mark.parametrize("ending", ["csv", "xlsx", "jsonl", "parquet"])
def test_numbers_as_text_are_numbers_in_every_format(table, data_folder, ending):
    rows = [{"isin": "A", "nav": "1"}, {"isin": "B", "nav": None}, {"isin": "C", "nav": "3"}]
    table("write", rows, path=f"a.{ending}")
    table("zscore", path=f"a.{ending}", column="nav", into="z", to=f"b.{ending}")
    found = table("read", path=f"b.{ending}", columns={"z": "number"})
    assert [row["z"] for row in found] == [-1, None, 1]
    assert list(found[0]) == ["isin", "nav", "z"]


def test_a_missing_column_names_file_and_column_and_the_target_stays(table, data_folder):
    write(data_folder, "a.csv", "isin,price\nX,1\n")
    write(data_folder, "z.csv", "old\n")
    with pytest.raises(StepError, match=r"^a\.csv: column 'nav' not found; the columns are isin, price$"):
        table("zscore", path="a.csv", column="nav", to="z.csv")
    assert (data_folder / "z.csv").read_text() == "old\n"
    with pytest.raises(StepError, match=r"^a\.csv: the column 'price' exists already"):
        table("add_column", path="a.csv", into="price", value="1", to="z.csv")


def test_a_header_without_rows_gives_a_target_without_rows_and_no_bytes_are_an_error(table, data_folder):
    write(data_folder, "a.csv", "isin,nav\n")
    assert table("zscore", path="a.csv", column="nav", to="z.csv") == {
        "rows": 0,
        "columns": ["isin", "nav", "z_score_nav"],
    }
    assert (data_folder / "z.csv").read_text() == "isin,nav,z_score_nav\n"
    write(data_folder, "a.csv", "")
    with pytest.raises(StepError, match="empty, not even a header"):
        table("zscore", path="a.csv", column="nav", to="z.csv")


def test_a_column_is_a_value_an_expression_or_the_time(table, data_folder):
    write(data_folder, "a.csv", "isin;nav\nX;1.50\nY;2\n")
    table("add_column", path="a.csv", into="source", value="bank", to="b.csv")
    assert (data_folder / "b.csv").read_text() == "isin;nav;source\nX;1.50;bank\nY;2;bank\n"
    table("add_column", path="a.csv", into="double", expression="nav * 2", columns={"nav": "number"}, to="b.csv")
    assert (data_folder / "b.csv").read_text() == "isin;nav;double\nX;1.50;3.0\nY;2;4\n"
    first, second = table("add_column", path="a.csv", into="t", time="iso")
    assert first["t"] == second["t"]
    assert first["t"].endswith("+00:00")
    (row, *_) = table("add_column", path="a.csv", into="t", time="epoch")
    assert isinstance(row["t"], int)
    with pytest.raises(StepError, match=r"^a\.csv: row 2: "):
        table("add_column", path="a.csv", into="bad", expression="nav / 2", to="b.csv")


@pytest.fixture
def join(table, data_folder):
    def run(left: str, right: str, **options) -> list[str]:
        write(data_folder, "a.csv", left)
        write(data_folder, "b.csv", right)
        given = {"on": ["isin"], "columns": ["subscriptions"], "defaults": {"subscriptions": 0}, **options}
        table("join", path="a.csv", right="b.csv", to="m.csv", **given)
        return (data_folder / "m.csv").read_text().splitlines()

    return run


def test_every_left_row_is_there_once_in_order(join):
    right = "isin,other,subscriptions\nY,x,450\nZ,x,1\nX,x,\n"
    assert join("isin,nav\nW,1\nX,2\nY,3\nY,4\n", right) == [
        "isin,nav,subscriptions",
        "W,1,0",  # No partner: the default.
        "X,2,",  # A partner with a blank cell: blank.
        "Y,3,450",  # Whole numbers stay whole.
        "Y,4,450",
    ]


def test_a_blank_key_matches_nothing_not_even_another_blank_key(join):
    assert join("isin,nav\n,1\n ,2\n", "isin,subscriptions\n,7\n ,8\n") == ["isin,nav,subscriptions", ",1,0", " ,2,0"]


def test_of_a_key_that_appears_twice_the_last_row_counts_with_a_warning(run_flow, workspace):
    write(workspace / "data", "a.csv", "isin,nav\nX,1\n")
    write(workspace / "data", "b.csv", "isin,n\nX,1\nX,2\nY,3\n")
    run = run_flow("""
        steps:
          - {name: m, type: table, table: {mode: join, path: a.csv, right: b.csv, on: [isin]}}
          - {name: f, type: table, table: {mode: join, path: a.csv, right: b.csv, on: [isin], duplicates: first}}
          - name: e
            type: table
            table: {mode: join, path: a.csv, right: b.csv, on: [isin], duplicates: error}
            on_error_goto: __end__
    """)
    assert run.result["m"] == [{"isin": "X", "nav": "1", "n": "2"}]
    assert run.result["f"] == [{"isin": "X", "nav": "1", "n": "1"}]
    assert run.errors[0]["error"]["message"] == "b.csv: row 3: the key X appears twice"
    assert "WARNING m: b.csv: keys that appear more than once, of which the last row counts: X" in run.log
    assert "1 of 2 keys of b.csv have no partner in a.csv" in run.log


def test_a_column_of_both_tables_is_combined_or_that_of_the_left_one(join):
    left = "isin,time_started\nW,2024-03-05T10:00:00+01:00\nX,2024-03-05T10:00:00+01:00\nY,\nZ,9\n"
    right = "isin,subscriptions,time_started\nW,1,2024-03-05T08:59:59Z\nX,2,\nY,3,5\nZ,4,10\n"
    lines = join(left, right, combine={"time_started": "min"})
    assert lines == [
        "isin,time_started,subscriptions",
        "W,2024-03-05T08:59:59Z,1",
        "X,2024-03-05T10:00:00+01:00,2",
        "Y,5,3",
        "Z,9,4",
    ]
    assert join(left, right, columns=None)[1] == "W,2024-03-05T10:00:00+01:00,1"
    with pytest.raises(StepError, match=r"a\.csv has a column 'time_started' too"):
        join(left, right, columns=["time_started"], defaults={})
    with pytest.raises(StepError, match=r"a\.csv: row 2, column 'time_started': .* cannot be compared"):
        join("isin,time_started\nW,soon\n", "isin,subscriptions,time_started\nW,1,2\n", combine={"time_started": "min"})


def test_an_inner_join_keeps_rows_with_a_partner(join):
    assert join("isin\nX\nY\n", "isin,subscriptions\nY,1\n", how="inner") == ["isin,subscriptions", "Y,1"]


def test_a_number_in_excel_and_its_text_in_csv_are_the_same_key(table, data_folder):
    table("write", [{"id": 7, "n": 1.0}, {"id": 8, "n": 2}], path="b.xlsx")
    write(data_folder, "a.csv", "id\n7\n8\n")
    table("join", path="a.csv", right="b.xlsx", on=["id"], to="m.csv")
    assert (data_folder / "m.csv").read_text() == "id,n\n7,1\n8,2\n"


def test_values_become_columns(table, data_folder):
    write(data_folder, "a.csv", "day,kind,n\n1,b,2\n1,a,3\n2,b,4\n1,b,5\n")
    rows = table("pivot", path="a.csv", by=["day"], across="kind", value="sum:n")
    assert rows == [{"day": "1", "b": 7, "a": 3}, {"day": "2", "b": 4, "a": None}]
    with pytest.raises(StepError, match=r"^a\.csv: row 2, column 'kind': 'b' is not a number$"):
        table("pivot", path="a.csv", by=["day"], across="n", value="mean:kind")


def test_all_mistakes_of_a_table_are_listed_with_row_and_column(table, data_folder):
    write(data_folder, "a.csv", "id,nav,kind,day\n1,5,a,2024-01-01\n1,x,b,soon\n,-1,c,2025-01-01\n")
    rules = {
        "id": {"required": True, "unique": True, "pattern": "[0-9]+"},
        "nav": {"type": "number", "min": 0, "max": 10},
        "kind": {"choices": ["a", "b"]},
        "day": {"type": "date", "max": "2024-12-31"},
    }
    with pytest.raises(StepError) as caught:
        table("validate", path="a.csv", rules=rules)
    assert str(caught.value).splitlines() == [
        "a.csv: 6 mistakes in 3 rows",
        "row 3, column 'nav': 'x' is not a valid number",
        "row 3, column 'day': 'soon' is not a valid date",
        "row 3, column 'id': '1' is in row 2 already",
        "row 4, column 'id': is required and blank",
        "row 4, column 'nav': '-1' is less than 0",
        "row 4, column 'kind': 'c' is not one of a, b",
    ] or "greater than" in str(caught.value)
    assert caught.value.details["mistakes"][0] == {"row": 3, "column": "nav", "message": "'x' is not a valid number"}
    with pytest.raises(StepError, match=r"and [0-9] more$"):
        table("validate", path="a.csv", rules=rules, limit=2)
    good = table("validate", path="a.csv", rules={"kind": {"required": True}}, unique=["id", "nav"])
    assert good == {"rows": 3, "mistakes": []}


def test_a_file_is_converted_with_types(table, data_folder):
    write(data_folder, "a.csv", "day,n,id\n2024-03-05,450,007\n2024-03-06,,008\n")
    table("convert", path="a.csv", to="a.xlsx", columns={"day": "date", "n": "number"})
    table("convert", path="a.xlsx", to="b.csv")
    assert (data_folder / "b.csv").read_text() == "day,n,id\n2024-03-05T00:00:00,450,007\n2024-03-06T00:00:00,,008\n"
    table("convert", path="a.xlsx", to="c.jsonl", columns=["id", "n"])
    assert (data_folder / "c.jsonl").read_text() == '{"id": "007", "n": 450}\n{"id": "008", "n": null}\n'


def test_excel_keeps_texts_and_numbers_as_they_are(table, data_folder):
    rows = [
        {"text": "=1+1", "n": 0.1 + 0.2},
        {"text": "<r><t>markup</t></r>", "n": 1e300},
        {"text": "_x0041_ _x005F_x0041_", "n": 2**53},
        {"text": "a\r\nb ", "n": 5e-324},
        {"text": "https://example.org", "n": -0.5},
    ]
    table("write", rows, path="t.xlsx")
    assert table("read", path="t.xlsx") == rows


def test_an_error_in_a_cell_of_excel_is_not_a_blank_cell(table, data_folder):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for line in (["isin", "nav"], ["X", 1], ["Y", "#N/A"]):
        book.active.append(line)
    book.active["B3"].data_type = "e"
    data_folder.mkdir(exist_ok=True)
    book.save(data_folder / "a.xlsx")
    with pytest.raises(StepError, match=r"^a\.xlsx: row 3, column 'nav': '#N/A' is not a number$"):
        table("zscore", path="a.xlsx", column="nav", to="z.xlsx")


@pytest.mark.parametrize("ending", ["csv", "xlsx", "jsonl"])
def test_on_a_full_disk_the_old_file_stays(workspace, environment, ending):
    write(workspace / "data", "a.csv", "n\n" + "".join(f"{at}{'x' * 40}\n" for at in range(40000)))
    write(workspace / "data", f"b.{ending}", "old")
    options = f"{{mode: add_column, path: a.csv, into: m, value: v, to: b.{ending}}}"
    write(workspace / "tasks", "f.yml", f"steps: [{{name: s, type: table, table: {options}}}]")
    # A limit on the size of files has the effect of a full disk on this process alone.
    command = f"ulimit -f 150; exec {sys.executable} -P -m scflows run f.yml --json"
    done = subprocess.run(["bash", "-c", command], cwd=workspace, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert json.loads(done.stdout)["message"] == f"s: b.{ending}: File too large"
    assert (workspace / "data" / f"b.{ending}").read_text() == "old"
    assert sorted(path.name for path in (workspace / "data").iterdir()) == ["a.csv", f"b.{ending}"]


REFERENCE = """
steps:
  - {name: big, type: table, table: {path: a.csv, columns: {n: integer}, result: reference}}
  - name: more
    type: table
    table: {mode: add_column, data_key: big, into: double, expression: n * 2, result: reference}
  - {name: said, type: set_fact, set_fact: {value: "{{ more.rows }} {{ more.columns | join(' ') }}"}}
  - {name: few, type: table, when: big.rows > 2, table: {mode: filter, data_key: more, where: double > 4}}
  - {name: out, type: table, table: {mode: write, path: out.csv, data_key: more}}
  - {name: last, type: file, file: {path: there.json, type: json}}
"""


def test_a_reference_is_accepted_by_other_steps_and_found_by_a_resumed_run(run_flow, workspace):
    write(workspace / "data", "a.csv", "id,n\na,1\nb,2\nc,\nd,3\n")
    text = REFERENCE.replace("n * 2", "(n or 0) * 2")
    run = run_flow(text)
    assert run.result["said"] == "4 id n double"
    assert run.result["few"] == [{"id": "d", "n": 3, "double": 6}]
    assert (workspace / "data/out.csv").read_text() == "id,n,double\na,1,2\nb,2,4\nc,,0\nd,3,6\n"
    assert (workspace / "data" / run.result["big"]["__table__"]).is_file()
    write(workspace / "data", "there.json", "1")
    resumed = run_flow(text, resume=run.outcome.run.id)
    assert resumed.status == "success"
    assert resumed.result["more"] == run.result["more"]


def test_a_reference_whose_file_is_gone_is_an_error(run_flow, workspace):
    write(workspace / "data", "a.csv", "n\n1\n")
    run = run_flow("""
        steps:
          - {name: big, type: table, table: {path: a.csv, result: reference}}
          - {name: rm, type: shell, shell: {command: "rm -r runs"}}
          - {name: use, type: table, table: {mode: filter, data_key: big}}
    """)
    assert "no longer exists; run the flow again from its start" in run.message


def test_a_large_table_becomes_a_reference_and_a_small_one_a_list(run_flow, workspace, monkeypatch):
    monkeypatch.setattr("scflows.steps.table_work.THRESHOLD", 3)
    write(workspace / "data", "a.csv", "n\n1\n2\n3\n")
    flow = "steps: [{name: t, type: table, table: {path: a.csv}}]"
    assert run_flow(flow).result["t"] == [{"n": "1"}, {"n": "2"}, {"n": "3"}]
    write(workspace / "data", "a.csv", "n\n1\n2\n3\n4\n")
    assert run_flow(flow).result["t"]["rows"] == 4
    assert len(run_flow(flow.replace("a.csv", "a.csv, result: list")).result["t"]) == 4
    assert len(run_flow(flow, dry_run=True).result["t"]) == 4


def test_values_in_a_reference_keep_their_types(tmp_path):
    rows = [
        {"n": 1, "b": True, "t": "7", "l": [1], "m": 1},
        {"n": 2.5, "b": None, "t": "x,y", "l": None, "m": "text"},
    ]
    path = tmp_path / "t.csv"
    found = reference.write_reference(str(path), "t.csv", ["n", "b", "t", "l", "m"], rows)
    assert json.loads(json.dumps(found))["rows"] == 2
    with reference.ReferenceSource(found, str(path), "key").open() as opened:
        assert [row for _, row in opened.rows] == rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "zscore", "column": "n"}, "data_key: 'zscore' needs path or data_key"),
        ({"mode": "convert", "path": "a.csv", "data_key": "k"}, "data_key: path and data_key cannot be combined"),
        ({"mode": "add_column", "path": "a.csv", "into": "x", "expression": "1 +"}, "expression: expression '1 +'"),
        ({"mode": "validate", "path": "a.csv", "rules": {"n": {"typ": "x"}}}, "rules: column 'n': unknown rule 'typ'"),
        ({"mode": "join", "path": "a.csv", "right": "b.csv", "on": ["i"], "combine": {"t": "sum"}}, "combine: column"),
        ({"mode": "convert", "path": "a.csv", "to": "b.doc"}, "to: 'b.doc' has none of the known extensions"),
    ],
)
def test_mistakes_in_options_are_found_before_a_run(mistakes, options, message):
    assert any(line.startswith(message) for line in mistakes("table", options)), mistakes("table", options)


def test_a_folder_pair_gives_the_paths():
    from scflows.steps.builtin.table import TableStep

    assert TableStep.for_files({"mode": "join"}, {"a": "x.csv", "b": "y.csv"}, "z.csv") == {
        "mode": "join",
        "path": "x.csv",
        "right": "y.csv",
        "to": "z.csv",
    }


def test_csv_operations_load_no_table_library(workspace, environment):
    write(workspace / "data", "a.csv", "isin,nav\nX,1\nY,2\n")
    (workspace / "tasks" / "z.yml").write_text(
        "steps: [{name: z, type: table, table: {mode: zscore, path: a.csv, column: nav, to: z.csv}}]"
    )
    program = (
        "import sys; from scflows.steps.builtin.table import TableStep; import scflows.steps.table_work, "
        "scflows.connectors.tables.add_columns, scflows.connectors.tables.join, scflows.connectors.tables.pivot, "
        "scflows.connectors.tables.validate, scflows.connectors.tables.excel;"
        "print([n for n in ('pandas numpy openpyxl xlsxwriter python_calamine pyarrow sqlalchemy').split() "
        "if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[]", done.stderr
