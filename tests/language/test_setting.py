"""What the flow language says of the settings around a flow."""

from __future__ import annotations

import json

import pytest

FACT = "{{name: {0}, type: set_fact, set_fact: {{value: {1}}}}}"


@pytest.fixture
def run(flows, workspace):
    """The one object that `flows run` prints for a flow, with more variables in its environment."""

    def run(text, *arguments, **variables):
        flow = workspace / "tasks" / "f.yml"
        flow.write_text(text)
        flow.chmod(0o600)
        return json.loads(flows("run", str(flow), "--json", *arguments, **variables).out)

    return run


@pytest.mark.language("§6 Settings")
@pytest.mark.parametrize("folder", ["data", "other", "/absolute"])
def test_folders_are_where_the_settings_say_else_in_the_data_folder(flows, workspace, tmp_path, folder):
    top = tmp_path / folder.strip("/") if folder.startswith("/") else workspace / folder
    (top / "flows").mkdir(parents=True)
    (top / "templates").mkdir()
    (top / "flows" / "f.yml").write_text("""
steps:
  - {name: read, type: file, file: {path: in.yml}}
  - {name: text, type: jinja, jinja: {path: t.j2}}
  - {name: said, type: shell, shell: {command: 'printf %s "$X"', env: {X: "{{ secret('x').token }}"}}}
""")
    (top / "flows" / "f.yml").chmod(0o600)
    (top / "in.yml").write_text("5")
    (top / "templates" / "t.j2").write_text("{{ read }}")
    (top / "secrets.yml").touch(mode=0o600)
    (top / "secrets.yml").write_text("- {name: x, type: token, token: hush-hush}")
    given = {} if folder == "data" else {"DATA_PATH": str(top) if folder.startswith("/") else folder}
    told = json.loads(flows("run", "f.yml", "--json", **given).out)
    assert told["status"] == "success", told
    assert (told["data"]["read"], told["data"]["text"], told["data"]["said"]) == (5, "5", "***")


@pytest.mark.language("§6 Settings")
def test_each_folder_and_file_may_be_named_by_itself(flows, workspace, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    flow = tmp_path / "a" / "f.yml"
    flow.write_text("""
steps:
  - {name: text, type: jinja, jinja: {path: t.j2}}
  - {name: said, type: shell, shell: {command: 'printf %s "$X"', env: {X: "{{ secret('x').token }}"}}}
""")
    flow.chmod(0o666)
    (tmp_path / "b" / "t.j2").write_text("from b")
    (tmp_path / "c" / "s.yml").touch(mode=0o600)
    (tmp_path / "c" / "s.yml").write_text("- {name: x, type: token, token: hush-hush}")
    (tmp_path / "c" / "c.yml").write_text("allow: [shell]")
    named = {
        "FLOWS_PATH": str(tmp_path / "a"),
        "TEMPLATES_PATH": str(tmp_path / "b"),
        "SECRETS_PATH": str(tmp_path / "c" / "s.yml"),
        "LOCK_PATH": str(tmp_path / "locks"),
    }
    refused = json.loads(flows("run", "f.yml", "--json", **named).out)
    assert refused["status"] == "failed"
    assert "allow" in refused["message"]
    told = json.loads(flows("run", "f.yml", "--json", CONFIG_FILE=str(tmp_path / "c" / "c.yml"), **named).out)
    assert told["status"] == "success", told
    assert (told["data"]["text"], told["data"]["said"]) == ("from b", "***")
    assert (tmp_path / "locks").is_dir()


@pytest.mark.language("§6 Settings")
def test_a_run_has_the_time_that_the_settings_give(run):
    text = "finally_step: last\nsteps: [{name: s, type: sleep, sleep: {seconds: 500}}, " + FACT.format("last", 1) + "]"
    told = run(text, FLOW_TIMEOUT_SECONDS="0.3")
    assert (told["status"], told["reason"], told["data"]["last"]) == ("failed", "timeout", 1)
    assert "the run has timed out" in told["message"]


@pytest.mark.language("§6 Settings")
def test_the_level_of_the_log_is_that_of_the_settings(run, flows):
    text = "steps: [{name: s, type: sleep, sleep: {seconds: 0}}]"
    for level, shown in (("INFO", True), ("WARNING", False)):
        told = run(text, LOG_LEVEL=level)
        log = flows("logs", told["run_id"]).out
        assert ("done in" in log) == shown


@pytest.mark.language("§6 Settings")
def test_without_settings_a_run_has_ten_minutes_and_a_loop_eight_children(settings):
    assert (settings.timeout_seconds, settings.max_workers) == (600, 8)
    assert (settings.timezone, settings.log_level) == ("UTC", "INFO")
