"""What `config.yml` may say about jobs, and what they run."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from textwrap import dedent

import pytest

from tests.folders.conftest import COPY

pytestmark = pytest.mark.language("§10 folder")

COPY_FLOW = """
params: {source: {required: true}, target: {required: true}}
steps:
  - {name: text, type: file, file: {path: "{{ params.source }}", type: text}}
  - {name: write, type: file, file: {path: "{{ params.target }}", mode: write, type: text, data_key: text}}
"""


def test_all_mistakes_are_listed_with_line_and_column(work):
    work.write("""\
        alow: [shell]
        retention: {days: many}
        jobs:
          - name: first
            sorce: source
            target: made
            script: [cp]
          - {name: second, source: a, target: a, script: [cp]}
          - {name: third, source: a, target: b}
          - {name: fourth, source: a, target: b, script: [cp], flow: x.yml}
          - {name: second, source: a, target: c, settle: soon, script: [cp]}
          - {name: fifth, sources: {a: x/A.*, b: y/B}, target: ../out, script: 'a "b'}
          - {name: sixth, source: a, target: d, table: {mode: grup}}
          - 7
          - {source: a}
        """)
    answer = work.flows("folders", "run", str(work.path))
    assert answer.code == 2
    lines = [line.removeprefix(f"{work.path}/config.yml:").partition(": ") for line in answer.err.splitlines()]
    found = {place: text for place, _, text in lines}
    assert list(found) == [
        *("1:1", "2:13", "5:5", "8:31", "9:30", "10:56", "11:6", "11:42", "12:48", "12:64", "13:49", "14:5", "15:5")
    ]
    assert found["1:1"] == "warning: unknown property 'alow' is ignored; did you mean 'allow'?"
    assert found["5:5"] == "error: job 'first': unknown option 'sorce'; did you mean 'source'?"
    assert found["8:31"] == "error: job 'second': source and target are the same files"
    assert "13:49" in found


def test_a_property_named_on_needs_no_quotes(run_flow):
    run = run_flow("steps: [{name: told, type: set_fact, set_fact: {value: {on: [isin]}}}]")
    assert run.result["told"] == {"on": ["isin"]}


def test_it_is_not_listed_as_a_flow(work, workspace):
    (workspace / "tasks/config.yml").write_text(f"jobs: [{{name: j, source: source, target: made, {COPY}}}]")
    (workspace / "tasks/flow.yml").write_text("steps: []")
    listed = json.loads(work.flows("list-flows", "--json").out)["items"]
    assert len(listed) == 1


def test_a_circle_is_refused(work):
    work.write(f"""
        jobs:
          - {{name: a, source: one, target: two, {COPY}}}
          - {{name: b, source: two, target: one, {COPY}}}
        """)
    answer = work.flows("folders", "run", str(work.path))
    assert answer.code == 2
    assert "config.yml:2:1: error: jobs: some of them make each other's sources, in a circle" in answer.err


def test_the_same_file_holds_settings_of_the_workspace(work):
    work.write(
        """
        env: {GREETING: hello}
        retention: {days: 30}
        jobs: [{name: j, source: source, target: made, script: [sh, -c, 'echo $GREETING > "$2"', sh]}]
        """,
        a="1",
    )
    work.run()
    assert (work.path / "made/a").read_text() == "hello\n"


@pytest.mark.parametrize(
    ("script", "content"),
    [
        ("cp", "1"),
        ("[cp, '{source}', '{target}']", "1"),
        ("dd status=none if={source} of={target}", "1"),
        ("bin/shout", "1!"),
        ("scripts/double.py", "11"),
    ],
)
def test_a_script_is_a_list_a_text_or_a_python_file(work, script, content):
    work.write(
        f"jobs: [{{name: j, source: source, target: made, script: {script!r}}}]".replace('"[', "[").replace(']"', "]")
    )
    program = work.put("bin/shout", '#!/bin/sh\n(cat "$1"; printf "!") > "$2"\n')
    program.chmod(0o755)
    work.put("scripts/helper.py", "def double(text): return text * 2\n")
    work.put(
        "scripts/double.py",
        dedent("""
        import sys
        from helper import double
        with open(sys.argv[1]) as source, open(sys.argv[2], "w") as target:
            target.write(double(source.read()))
        """),
    )
    work.put("source/a b.csv", "1")
    work.run()
    assert (work.path / "made/a b.csv").read_text() == content


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_a_function_gets_each_source_as_a_table_and_returns_the_target(work, ending):
    import pandas

    work.write(
        """
        jobs:
          - name: join
            sources: {left: a/A.*, right: b/B.*}
            target: made/Both.*
            script: scripts/join.py
            function: join
        """
    )
    work.put(
        "scripts/join.py",
        dedent("""
        def join(left, right):
            return left.merge(right, on="key", how="left")
        """),
    )
    for name, table in (
        ("a/A", pandas.DataFrame({"key": ["x", "y"], "n": [450, 7]})),
        ("b/B", pandas.DataFrame({"key": ["x"], "m": [3]})),
    ):
        (work.path / name).parent.mkdir()
        path = work.path / f"{name}.{ending}"
        table.to_csv(path, index=False) if ending == "csv" else table.to_excel(path, index=False)
    work.run()
    made = work.path / f"made/Both.{ending}"
    if ending == "csv":
        assert made.read_text() == "key,n,m\nx,450,3\ny,7,\n"
    else:
        assert pandas.read_excel(made, engine="openpyxl").fillna(-1).to_dict("list") == {
            "key": ["x", "y"],
            "n": [450, 7],
            "m": [3, -1],
        }


def test_an_exception_of_a_function_is_the_error_of_the_file(work):
    work.write("jobs: [{name: j, source: source, target: made, script: f.py, function: f}]")
    work.put("f.py", "def f(table):\n    return table['nav']\n")
    work.put("source/a.csv", "isin\n1\n")
    work.put("source/b.csv", "")
    message = work.run(code=1)["message"]
    assert "a.csv: f.py: exit status 1: KeyError: 'nav'" in message
    assert "b.csv: f.py: exit status 1: pandas.errors.EmptyDataError: No columns to parse from file" in message


def test_a_flow_gets_source_and_target_as_parameters(work):
    work.write("jobs: [{name: j, source: source, target: made, flow: copy.yml}]", a="content")
    work.put(
        "copy.yml",
        COPY_FLOW,
    )
    work.run()
    assert (work.path / "made/a").read_text() == "content"


def test_targets_are_artifacts_of_the_run_under_their_own_names(work):
    work.write(
        f"""
        jobs:
          - {{name: copy, source: source, target: made, flow: copy.yml}}
          - {{name: again, source: made, target: last, {COPY}}}
        """,
        a="content",
    )
    work.put("copy.yml", COPY_FLOW)
    run = work.run()["run_id"]
    listed = json.loads(work.flows("artifacts", "list", run, "--json").out)["items"]
    assert sorted(each["name"] for each in listed) == ["last/a", "made/a"]


def test_a_database_gets_the_rows_of_each_file_and_leaves_a_mark(work):
    work.write(
        """
        jobs:
          - name: save
            source: source
            target: saved
            database: {mode: upsert, sqlite: rows.sqlite, table: entries, key: [isin]}
        """
    )
    work.put("source/a.csv", "isin,nav\nX1,1\nX2,2\n")
    with sqlite3.connect(work.path / "rows.sqlite") as connection:
        connection.execute("CREATE TABLE entries (isin TEXT PRIMARY KEY, nav REAL)")
    for _ in range(2):
        work.run()
        mark = json.loads((work.path / "saved/a.csv").read_text())
        assert mark["sources"] == ["source/a.csv"]
        assert mark["result"]["rows"] == 2
        (work.path / "saved/a.csv").unlink()
    with sqlite3.connect(work.path / "rows.sqlite") as connection:
        assert connection.execute("SELECT * FROM entries ORDER BY isin").fetchall() == [("X1", 1), ("X2", 2)]


def test_a_flow_that_fails_or_makes_nothing_is_an_error(work):
    work.write("jobs: [{name: j, source: source, target: made, flow: child.yml}]", a="content")
    work.put("child.yml", "steps: []")
    assert "a: made no target" in work.run(code=1)["message"]
    work.put("child.yml", "steps: [{name: s, type: file, file: {path: gone}}]")
    assert "a: s: " in work.run(code=1)["message"]


def test_a_mark_notes_the_result(work):
    work.write("jobs: [{name: j, source: source, target: made, flow: child.yml, mark: true}]", a="content")
    work.put("child.yml", "steps: []")
    work.run()
    mark = json.loads((work.path / "made/a").read_text())
    assert mark == {"sources": ["source/a"], "result": {"status": "success", "message": ""}}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_script_of_a_file_that_others_may_write_needs_permission(work):
    work.write(f"jobs: [{{name: j, source: source, target: made, {COPY}}}]", a="1")
    (work.path / "config.yml").chmod(0o666)
    assert "'shell' steps are not allowed in this flow" in work.run(code=1)["message"]
    work.write(f"allow: [shell]\njobs: [{{name: j, source: source, target: made, {COPY}}}]")
    assert work.run()["status"] == "success"


def test_a_source_among_the_settings_is_refused(work):
    work.write(f"jobs: [{{name: j, source: tasks, target: made, {COPY}}}]")
    work.put("tasks/a")
    assert "belongs to the settings, flows or templates" in work.run(code=1)["message"]


def test_the_same_job_as_a_step_of_a_flow(run_flow, workspace):
    (workspace / "data/in").mkdir(parents=True)
    (workspace / "data/in/a").write_text("1")
    text = f"""
        steps:
          - name: copy
            type: folder
            folder: {{source: in, target: out, {COPY}}}
          - {{name: told, type: set_fact, set_fact: {{value: "{{{{ copy.made }}}}"}}}}
        """
    run = run_flow(text)
    assert (run.status, run.result["told"]) == ("success", "1"), run.log
    assert run.outcome.run.steps[0].message == "1 made, 0 up to date, 0 waiting"
    assert (workspace / "data/out/a").read_text() == "1"
    assert run_flow(text).result["copy"] == {"made": 0, "failed": 0, "waiting": 0, "present": 1}


def test_a_script_sees_the_python_of_the_run(work):
    work.write("jobs: [{name: j, source: source, target: made, script: which.py}]", a="1")
    work.put("which.py", "import sys\nopen(sys.argv[2], 'w').write(sys.executable)\n")
    work.run()
    assert (work.path / "made/a").read_text() == sys.executable


def test_its_configuration_is_not_run_as_a_flow_of_another_workspace(work, workspace):
    work.write(f"jobs: [{{name: j, source: source, target: made, {COPY}}}]", a="1")
    answer = work.flows("run", str(work.path / "config.yml"))
    assert answer.code == 2
    assert f"help: run: flows folders run {work.path}" in answer.err
    assert work.made("made") == []
    (workspace / "tasks/config.yml").write_text((work.path / "config.yml").read_text())
    (workspace / "tasks/parent.yml").write_text("steps: [{name: s, type: flow, flow: {path: config.yml}}]")
    answer = work.flows("run", "parent.yml")
    assert answer.code == 1
    assert "has the jobs of a working folder" in answer.err
