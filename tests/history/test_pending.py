"""Records that wait for the history as files: what is no record is put beside, and stops nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scflows.history.recorder import run_to_dict
from scflows.history.run import Run

ID = "01M7ZFG1KH1JXSM4"
GOOD = run_to_dict(Run(ID, "x.yml", "x", status="success", started=1.0, ended=2.0))
ODD = {
    "id": [1],
    "task": "\ud800",
    "message": {},
    "started": "x",
    "slot": "x",
    "ended": 1e400,
    "status": None,
    "steps": [{"position": "1", "name": "a", "type": "jq"}],
    "params": [],
}


@pytest.mark.parametrize("odd", [*ODD, "deep", "none"])
def test_a_file_that_is_no_record_of_a_run_is_put_beside(flows, settings, odd):
    folder = Path(settings.state_path) / "claims"
    folder.mkdir(parents=True)
    values = {**GOOD, odd: ODD[odd]} if odd in ODD else GOOD
    (folder / "a.json").write_text("[" * 100_000 if odd == "deep" else json.dumps(values))
    answer = flows("history", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert [run["id"] for run in json.loads(answer.out)["items"]] == ([ID] if odd == "none" else [])
    assert [path.name for path in folder.iterdir()] == ([] if odd == "none" else ["a.json.broken"])
