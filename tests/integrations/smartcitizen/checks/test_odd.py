"""What the platform says that cannot be, and a memory that is damaged: told as what it is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from scflows.integrations.smartcitizen.checks.check_round import run_checks
from scflows.integrations.smartcitizen.checks.last_results import Memory
from scflows.integrations.smartcitizen.checks.thresholds import thresholds_of
from scflows.integrations.smartcitizen.demo.kit import stamp

pytestmark = pytest.mark.language("§10 device_check")
NOW = 1_790_000_000
HOUR = 3600


@pytest.mark.parametrize(
    "data", [None, [], "x", {"sensors": "x"}, {"sensors": [None, {"id": "55"}]}], ids=lambda data: str(data)
)
def test_sensors_that_cannot_be_read_are_unknown_and_not_missing(data):
    found, asked = _round({"data": data})
    assert (found.state, found.problems, found.news) == ("unknown", [], [])
    assert "sensors" in found.notes[0]
    assert asked == ["devices/7"]
    # Of a device that is away only that is told.
    assert _round({"data": data, "last_reading_at": stamp(NOW - 9 * HOUR)})[0].state == "stale"


@pytest.mark.parametrize(
    ("ago", "states"),
    [pytest.param(60, ("problem", "problem"), id="there"), pytest.param(9 * HOUR, ("problem", "stale"), id="away")],
)
def test_a_reading_of_years_ahead_hides_no_device_that_is_away(ago, states):
    last = stamp(NOW + 5 * 365 * 24 * HOUR)
    sensors = [{"id": 55, "value": 20.0, "last_reading_at": last}]
    known = {"last_reading_at": last, "data": {"sensors": sensors}}
    readings = [[stamp(at), at % 7] for at in range(NOW - 24 * HOUR, NOW - ago + 1, 60)]
    # Without readings nobody can tell.
    quick, _ = _round(known, None)
    assert [problem.check for problem in quick.problems] == ["ahead"]
    found, _ = _round(known, readings)
    assert (quick.state, found.state) == states
    # Another sensor whose time can be says it without readings, and is not silent for years.
    sensors.append({"id": 56, "value": 50.0, "last_reading_at": stamp(NOW - ago)})
    quick, _ = _round(known, None)
    assert (quick.state, len(quick.problems)) == (states[1], 1)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"schema": 2, "devices": {}}',
        '{"schema": 1, "devices": [1]}',
        '{"schema": 1, "devices": {"7": {"stale": 5}}}',
        '{"schema": 1, "devices": {"7": {"stale": {"since": 5, "message": {}}}}}',
    ],
)
def test_a_damaged_memory_is_begun_anew_and_that_is_told(tmp_path, content):
    file = tmp_path / "checks" / "7.json"
    file.parent.mkdir()
    file.write_text(content)
    memory = Memory(str(tmp_path), [7], False)
    assert "all problems are reported again" in memory.problem
    found, _ = _round({"last_reading_at": stamp(NOW - 9 * HOUR)}, memory=memory)
    assert [problem.check for problem in found.news] == ["stale"]
    memory.write()
    after = Memory(str(tmp_path), [7], False)
    assert (after.problem, list(after.problems(7))) == ("", ["stale"])


def _round(known, readings=None, memory=None):
    """What is found of one device, and what was asked for; without `readings` those are not."""
    asked = []

    def api(path):
        asked.append(path.partition("?")[0])
        data = {"sensors": [{"id": 55, "value": 20.0, "last_reading_at": stamp(NOW - 60)}]}
        shown = {"id": 7, "name": "kit", "last_reading_at": stamp(NOW - 60), "data": data, **known}
        return shown if path == "devices/7" else {"readings": readings}

    limits = thresholds_of({"sensors": {55: {"min": -40}, 56: {"min": 0}}}, "here")
    client = SimpleNamespace(api=api, report=lambda text, done, count: None)
    (found,) = run_checks([7], client, limits, NOW, memory, readings is not None)
    return found, asked
