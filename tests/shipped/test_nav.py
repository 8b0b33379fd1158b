"""The working folder `nav`: two tables become one, whose rows are in a database once."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from statistics import fmean, pstdev

import pytest


@pytest.fixture
def nav(shipped, workspace):
    folder = workspace / "nav"
    shutil.copytree(shipped / "nav", folder)
    return folder


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def saved(nav):
    with sqlite3.connect(nav / "entries.sqlite") as connection:
        return connection.execute("SELECT isin, subscriptions FROM entries ORDER BY isin").fetchall()


def test_the_chain_runs_down_in_one_call(nav, flows):
    answer = flows("folders", "run", "nav")
    assert answer.code == 0, answer.err
    merged = rows(nav / "target_merged/Merged.csv")
    given = rows(nav / "source/File_A.csv")
    assert [row["isin"] for row in merged] == [row["isin"] for row in given]
    assert list(merged[0]) == ["fund", "isin", "currency", "nav", "time_started", "z_score_nav", "subscriptions"]
    assert [row["nav"] for row in merged] == [row["nav"] for row in given]
    assert [row["subscriptions"] for row in merged] == ["450", "", "1200", "0", "80", "0"]
    numbers = [float(row["nav"]) for row in given if row["nav"]]
    expected = [(number - fmean(numbers)) / pstdev(numbers) for number in numbers]
    assert [float(row["z_score_nav"]) for row in merged if row["nav"]] == pytest.approx(expected)
    assert [row["z_score_nav"] for row in merged if not row["nav"]] == [""]
    assert {row["time_started"][:2] for row in merged} == {"20"}
    assert len(saved(nav)) == len(given)


def test_rows_are_saved_once_however_often(nav, flows):
    flows("folders", "run", "nav")
    before = saved(nav)
    for _ in range(3):
        (nav / "target_saved/Merged.csv").unlink()
        assert flows("folders", "run", "nav").code == 0
    assert saved(nav) == before


def test_a_missing_column_is_an_error_that_names_file_and_column(nav, flows):
    text = (nav / "source/File_A.csv").read_text()
    (nav / "source/File_A.csv").write_text(text.replace("currency,nav", "currency,value"))
    answer = flows("folders", "run", "nav")
    assert answer.code == 1
    found = json.loads(flows("folders", "status", "nav", "--json").out)["jobs"]
    assert [(job["name"], job["status"]) for job in found] == [
        ("add_timestamps", "success"),
        ("add_z_score", "error"),
        ("merge", "preliminary"),
        ("save_entries", "preliminary"),
    ]
    (message,) = [each["message"] for each in found[1]["files"] if each["status"] == "error"]
    assert "target_timestamps/File_A.csv" in message
    assert "'nav'" in message


def test_excel_and_csv_give_the_same_values(nav, flows):
    import pandas

    for name in ("File_A", "File_B"):
        pandas.read_csv(nav / f"source/{name}.csv").to_excel(nav / f"source/{name}.xlsx", index=False)
    assert flows("folders", "run", "nav").code == 0
    tables = [
        pandas.read_csv(nav / "target_merged/Merged.csv"),
        pandas.read_excel(nav / "target_merged/Merged.xlsx", engine="openpyxl"),
    ]
    columns = ["isin", "nav", "z_score_nav", "subscriptions"]
    pandas.testing.assert_frame_equal(tables[0][columns], tables[1][columns], check_dtype=False)


def with_files(nav, a: str, b: str = "isin,subscriptions\nX1,5\n") -> None:
    (nav / "source/File_A.csv").write_text(a)
    (nav / "source/File_B.csv").write_text(b)


def errors(flows) -> dict[str, str]:
    jobs = json.loads(flows("folders", "status", "nav", "--json").out)["jobs"]
    return {job["name"]: each["message"] for job in jobs for each in job["files"] if each["status"] == "error"}


@pytest.mark.parametrize(
    ("values", "scores"),
    [
        (["1", "2", "3"], ["-1.224744871391589", "0.0", "1.224744871391589"]),
        (["0.1", "0.1", "0.1"], ["", "", ""]),
        (["5"], [""]),
        (["1", "", "3"], ["-1.0", "", "1.0"]),
        (["1000000000.1", "1000000000.3"], ["-1.0", "1.0"]),
    ],
    ids=["spread", "all equal", "one row", "a blank", "large values"],
)
def test_scores_use_the_population_and_stay_blank_without_a_spread(nav, flows, values, scores):
    with_files(nav, "isin,nav\n" + "".join(f"X{number},{value}\n" for number, value in enumerate(values)))
    assert flows("folders", "run", "nav", "--job", "add_timestamps").code == 0
    assert flows("folders", "run", "nav", "--job", "add_z_score").code == 0
    found = [row["z_score_nav"] for row in rows(nav / "target_z_score/File_A.csv")]
    assert [float(score) if score else "" for score in found] == pytest.approx(
        [float(score) if score else "" for score in scores]
    )


def test_text_that_is_no_number_is_an_error_that_names_row_and_column(nav, flows):
    with_files(nav, "isin,nav\nX1,1\nX2,not yet\n")
    assert flows("folders", "run", "nav").code == 1
    message = errors(flows)["add_z_score"]
    assert "target_timestamps/File_A.csv" in message
    assert "row 3" in message  # As a spreadsheet counts, with the header.
    assert "'nav'" in message
    assert "not yet" in message


def test_a_file_of_zero_bytes_is_an_error_and_a_header_alone_is_not(nav, flows):
    with_files(nav, "isin,nav\n", "")
    assert flows("folders", "run", "nav").code == 1
    assert "source/File_B.csv" in errors(flows)["add_timestamps"]
    (nav / "source/File_B.csv").write_text("isin,subscriptions\n")
    assert flows("folders", "run", "nav").code == 0
    assert rows(nav / "target_merged/Merged.csv") == []
    assert saved(nav) == []


def test_a_blank_key_and_a_repeated_key_never_multiply_rows(nav, flows):
    with_files(nav, "isin,nav\nX1,1\n,2\nX2,3\n", "isin,subscriptions\nX1,5\nX1,6\n,7\n")
    flows("folders", "run", "nav", "--job", "add_timestamps")
    flows("folders", "run", "nav", "--job", "add_z_score")
    assert flows("folders", "run", "nav", "--job", "merge").code == 0
    merged = rows(nav / "target_merged/Merged.csv")
    assert [(row["isin"], row["subscriptions"]) for row in merged] == [("X1", "6"), ("", "0"), ("X2", "0")]
