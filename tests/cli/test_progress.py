"""How far a long work is stands on a terminal, and nowhere else."""

from __future__ import annotations

from scflows.integrations.smartcitizen.demo.faults import Fault
from scflows.integrations.smartcitizen.demo.platform import Platform
from scflows.integrations.smartcitizen.demo.server import serving

FLOW = "params: {device: {type: integer, required: true}}\nsteps: []\n"


def test_a_long_search_has_a_bar_and_a_table_on_a_terminal(terminal, workspace, flows):
    folder = workspace / "tasks" / "smartcitizen"
    folder.mkdir()
    (folder / "process.yml").write_text(FLOW)
    platform = Platform(clock=lambda: 1_790_000_000)
    # Nothing is shown in the first second.
    platform.faults.add(Fault("/base/hardware/demo-gas", how="slow", seconds=2.5))
    command = ("auto-schedule", "--source", "smartcitizen", "--once", "--dry-run")
    with serving(platform) as server:
        shown = terminal.run(*command, **server.settings)
        piped = flows(*command, **server.settings)
    assert shown.code == 0
    assert "hardware files ████" in shown.text
    assert "WHY" in shown.text
    assert "new readings" in shown.text
    assert "█" not in piped.out + piped.err
