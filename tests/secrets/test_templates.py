"""Section 10: where templates may ask for a secret."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.language("§5 Using a secret")


@pytest.mark.parametrize(
    "step",
    [
        "{name: s, type: set_fact, set_fact: {value: \"{{ secret('x').token }}\"}}",
        "{name: s, type: set_fact, set_fact: {value: {a: [\"{{ 'a' ~ secret('x')['token'] | upper }}\"]}}}",
        "{name: s, type: file, file: {path: \"{{ secret('x').token }}\"}}",
        "{name: s, type: exit, exit: {message: \"{{ secret('x').token }}\"}}",
        "{name: s, type: debug, debug: {}, when: \"secret('x').token == 'a'\"}",
        "{name: s, type: debug, debug: {}, when: \"{{ secret('x').token }}\"}",
    ],
)
def test_elsewhere_it_is_refused_before_anything_runs(run_flow, step):
    run = run_flow(f"steps:\n  - {step}\n")
    assert (run.status, run.reason, run.steps) == ("failed", "refused", [])
    assert "flow.yml:2:" in run.message
    assert "secret() is not allowed here" in run.message


@pytest.mark.parametrize("text", ["{{ secret('x').token }}", "{% set s = secret %}{{ s('x') }}"])
def test_a_template_file_may_not(run_flow, workspace, secrets_file, text):
    secrets_file("- {name: x, type: token, token: hushhush}")
    (workspace / "tasks" / "inner.j2").write_text(text)
    (workspace / "tasks" / "outer.j2").write_text("{% include 'inner.j2' %}")
    for path in ("inner.j2", "outer.j2"):
        run = run_flow(f"steps: [{{name: s, type: jinja, jinja: {{path: {path}}}}}]")
        assert "secret() is not allowed here" in run.message


def test_a_key_of_that_name_is_data_like_any_other(run_flow):
    run = run_flow(
        """
        steps:
          - {name: secret, type: set_fact, set_fact: {value: open}}
          - {name: s, type: set_fact, when: "secret == 'open'", set_fact: {value: "{{ secret }}"}}
        """
    )
    assert run.result["s"] == "open"


def test_the_name_of_a_field_must_be_said(run_flow, secrets_file):
    secrets_file("- {name: x, type: token, token: hushhush}")
    run = run_flow("""steps: [{name: s, type: rest, rest: {uri: "http://127.0.0.1:1/{{ secret('x') }}"}}]""")
    assert run.message == "s: name a field of the secret: secret('x').token"


def test_what_a_filter_made_of_it_is_masked_too(run_flow, secrets_file):
    secrets_file("- {name: x, type: token, token: hushhush}")
    run = run_flow(
        """
        steps:
          - {name: s, type: shell, shell: {command: 'printf %s "$X"', env: {X: "{{ secret('x').token | upper }}"}}}
        """
    )
    assert run.result["s"] == "***"
