"""A workspace is made once, and what is in it is never lost."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from scflows.errors import Refused, UsageError
from scflows.flows.loader import flow_files, load_flow
from scflows.flows.workspace import KEPT, MADE, REPLACED, make_workspace, shipped_flows
from scflows.settings import read_env_file, read_settings


def test_a_new_workspace_has_sound_flows_and_settings(tmp_path, environment) -> None:
    placed = make_workspace(str(tmp_path / "new" / "place"))
    top = tmp_path / "new" / "place"
    assert {each.action for each in placed} == {MADE}
    assert (top / "data" / "config.yml").is_file()
    settings = read_settings(str(top), environment)
    found = list(flow_files(settings))
    assert found
    assert any(load_flow(where, settings).schedule for where in found)
    for shipped in Path(shipped_flows()).rglob("*.csv"):
        copied = top / "tasks" / shipped.relative_to(shipped_flows())
        assert copied.read_bytes() == shipped.read_bytes()


def test_the_env_file_is_private_and_its_keys_are_random(tmp_path) -> None:
    found = []
    for name in ("one", "two"):
        make_workspace(str(tmp_path / name))
        path = tmp_path / name / ".env"
        assert path.stat().st_mode & 0o777 == 0o600
        found.append(read_env_file(str(path)))
    assert [sorted(each) for each in found] == [["API_TOKEN", "FLASK_SECRET_KEY"]] * 2
    values = [value for each in found for value in each.values()]
    assert len(set(values)) == 4
    assert min(len(value) for value in values) >= 32


def test_what_is_there_is_kept(tmp_path) -> None:
    make_workspace(str(tmp_path))
    (tmp_path / ".env").write_text("MINE=1\n")
    flow = next((tmp_path / "tasks").rglob("*.yml"))
    flow.write_text("steps: []\n")
    placed = make_workspace(str(tmp_path))
    assert {each.action for each in placed} == {KEPT}
    assert (tmp_path / ".env").read_text() == "MINE=1\n"
    assert flow.read_text() == "steps: []\n"


def test_force_replaces_what_differs_and_keeps_the_old_file(tmp_path) -> None:
    make_workspace(str(tmp_path))
    env, config = tmp_path / ".env", tmp_path / "data" / "config.yml"
    for content in ("FIRST=1\n", "SECOND=2\n"):
        env.write_text(content)
        placed = {each.path: each for each in make_workspace(str(tmp_path), force=True)}
        assert placed[str(env)].action == REPLACED
        assert placed[str(config)].action == KEPT, "it is as it should be"
        assert "API_TOKEN=" in env.read_text()
    assert (tmp_path / ".env.bak").read_text() == "FIRST=1\n"
    assert (tmp_path / ".env.bak2").read_text() == "SECOND=2\n"
    assert (tmp_path / ".env.bak2").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["file", "broken link"])
def test_a_path_that_is_no_folder_is_refused(tmp_path, kind) -> None:
    path = tmp_path / "there"
    if kind == "file":
        path.write_text("precious")
    else:
        path.symlink_to("nowhere")
    with pytest.raises(UsageError, match="is not a folder"):
        make_workspace(str(path))
    assert os.path.lexists(path)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path) -> None:
    (tmp_path / "data").write_text("precious")
    with pytest.raises(Refused, match=f"{tmp_path}/data: "):
        make_workspace(str(tmp_path))
    assert (tmp_path / "data").read_text() == "precious"


def test_an_empty_workspace_has_settings_and_no_flows(flows, tmp_path: Path) -> None:
    answer = flows("init", "--empty", str(tmp_path / "new"))
    assert answer.code == 0
    found = sorted(str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*") if path.is_file())
    assert found == [".env", "data/config.yml", "tasks/flow.schema.json"]
    assert (flows("list-flows", cwd=tmp_path / "new").out, flows("validate", cwd=tmp_path / "new").code) == ("", 0)
    # The example flows can be added later.
    assert flows("init", str(tmp_path / "new")).code == 0
    assert "weather/summary.yml" in flows("list-flows", cwd=tmp_path / "new").out


def test_every_link_in_a_workspace_leads_to_a_file(tmp_path: Path) -> None:
    make_workspace(str(tmp_path))
    pages = list(tmp_path.rglob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text()
        links = [link for link in re.findall(r"\]\(([^)#]*)[^)]*\)", text) if "://" not in link]
        assert [link for link in links if not (page.parent / link).exists()] == []
    text = (tmp_path / "tasks/README.md").read_text()
    assert "see notifications (`docs/notifications.md` in the source of scflows)" in " ".join(text.split())
