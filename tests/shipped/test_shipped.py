"""What holds for each of the shipped flows."""

from __future__ import annotations

from pathlib import Path

import pytest

from scflows.flows.parser import parse_flow

TASKS = Path(__file__).parents[2] / "tasks"
#: What needs services of its user's own carries no schedule; what other flows run has none either.
WITHOUT_SCHEDULE = ("ops/notice.yml", "harvest/", "nav/", "smartcitizen/", "tickets/")
FLOWS = sorted(
    str(path.relative_to(TASKS))
    for path in TASKS.rglob("*.yml")
    # The jobs of a working folder are not a flow.
    if not {".forward", ".thresholds"} & set(path.suffixes) and path.name != "config.yml"
)


def test_there_are_flows():
    assert "weather/summary.yml" in FLOWS


@pytest.mark.parametrize("path", FLOWS)
def test_a_shipped_flow_says_what_it_does_and_takes(path):
    file = TASKS / path
    flow, warnings = parse_flow(file.read_bytes(), path, str(file))
    assert warnings == []
    assert flow.description
    assert bool(flow.schedule) != path.startswith(WITHOUT_SCHEDULE)
    assert flow.params
    for name, properties in flow.params.items():
        assert properties.get("help"), name
        assert "default" in properties or properties.get("required"), name


@pytest.mark.parametrize("path", FLOWS)
def test_the_readme_names_each_flow(path):
    assert f"`{path}`" in (TASKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.language("§7 Dry runs")
@pytest.mark.parametrize("path", [path for path in FLOWS if not path.startswith(("harvest/", "nav/", "smartcitizen/"))])
def test_a_dry_run_writes_no_results(path, run_task, data):
    assert run_task(path, "2026-02-03T04:00", dry=True).status in ("success", "exit")
    assert not data.exists() or list(data.iterdir()) == []
