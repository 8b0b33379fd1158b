"""The shipped harvest, against a stand-in of Mastodon, as its README says."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scflows.integrations.social.demo import Service, serving


def test_a_search_becomes_counts_a_page_and_a_package(flows: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "mine"
    assert flows("init", str(home), cwd=tmp_path).code == 0
    with serving(Service(90)) as server:
        given = ["-p", "term=#air", "-p", "source=mastodon", "-p", f"server={server.url}", "-p", "count=60"]
        answer = flows("run", "harvest/harvest.yml", *given, "--json", cwd=home)
    assert answer.code == 0, answer.err
    run = json.loads(answer.out)["data"]["__job_id__"]
    folder = home / "data" / "runs" / run
    info = json.loads((folder / "summary.json").read_text())
    assert (info["id"], info["num_tweets"], info["term"]) == (run, 60, "#air")
    assert (folder / "count-hashtags.csv").read_text().splitlines()[:2] == ["hashtag,count", "air,10"]
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "count-hashtags.csv" in page
    with zipfile.ZipFile(folder / f"{run}.zip") as package:
        names = {name.partition("/")[2] for name in package.namelist()}
    assert {"index.html", "tweets.csv", "edgelist-hashtags.gexf", "provenance.json"} <= names
    assert not names & {"raw.jsonl", "posts.jsonl", "cursor.json"}
    listed = flows("artifacts", "list", run, cwd=home)
    assert f"runs/{run}/index.html" in listed.out


def test_a_dry_run_requests_and_writes_nothing(flows: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "mine"
    assert flows("init", str(home), cwd=tmp_path).code == 0
    with serving(Service(90)) as server:
        given = ["-p", "term=#air", "-p", "source=mastodon", "-p", f"server={server.url}"]
        answer = flows("run", "harvest/harvest.yml", *given, "--dry-run", cwd=home)
        assert server.service.requests == []
    assert answer.code == 0, answer.err
    assert not (home / "data" / "runs").exists()
