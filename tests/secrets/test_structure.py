"""Values inside structured secrets, and logins in addresses."""

from __future__ import annotations

import json

import pytest

from scflows.connectors.endpoint import login_in
from scflows.connectors.http.request import shown
from scflows.secrets.structure import values_in

pytestmark = pytest.mark.language("§5 What is masked")

ACCOUNT = {"type": "service_account", "key": "-----BEGIN KEY-----\nMIIE77\n-----END KEY-----\n", "ids": [{"n": 918273}]}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps(ACCOUNT), {"service_account", ACCOUNT["key"], "918273"}),
        (json.dumps({"a": json.dumps({"b": "inner-one"})}), {"inner-one"}),
        ("users:\n- name: ci\n  user: {token: abc-def}\n  on: true\n", {"ci", "abc-def"}),
        ("# for cron\nexport PGUSER=anna\nPGPASSWORD='open sesame'\n", {"anna", "open sesame"}),
        ("postgresql://anna:p%40ss-word@db.example.org/x", {"anna", "p%40ss-word", "p@ss-word"}),
        ("an ordinary: password", set()),
        ("two words\nand two more", set()),
        ("{ no JSON", set()),
        ("", set()),
    ],
)
def test_the_values_in_a_structured_text_are_found(text, found):
    values = {value for _, value in values_in(text)}
    assert found <= values if found else not values


@pytest.mark.parametrize("password", ["w0rd", "Pa/55", "Pa?55", "Pa#55", "P@ss", "p:a:s", "a/b?c#d@e", "%2F", "ü/ñ"])
@pytest.mark.parametrize("place", ["127.0.0.1:9/x", "api.example.org/x", "localhost/x/y", "[::1]:8080/x"])
def test_a_login_in_an_address_never_shows(password, place):
    uri = f"http://robot:{password}@{place}"
    assert login_in(uri) == ("robot", password)
    assert shown(uri) == f"http://{place}"


@pytest.mark.parametrize(
    "uri",
    [
        "https://api.example.org/users/@anna",
        "http://127.0.0.1:8080/users/anna@example.org/x",
        "http://localhost:8080/@anna",
        "http://web/users/@anna",
        "http://[::1]:80/@x",
    ],
)
def test_an_at_sign_in_a_path_is_no_login(uri):
    assert login_in(uri) == ("", "")
    assert shown(uri) == uri


def test_structured_secrets_and_logins_are_masked_in_a_run(run_flow, workspace):
    (workspace / "data").mkdir()
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text(json.dumps([{"name": "account", "type": "token", "token": json.dumps(ACCOUNT)}]))
    secrets.chmod(0o600)
    run = run_flow("""
        steps:
          - name: leaf
            type: shell
            shell: {command: "echo MIIE77 918273", env: {T: "{{ secret('account').token }}"}}
          - {name: one, type: rest, rest: {uri: "http://robot:Zw55/w0rd@127.0.0.1:9/x"}, ignore_errors: percent-encoded}
          - {name: two, type: rest, rest: {uri: "http://robot:Zw66w0rd@127.0.0.1:9/x?a=1"}, ignore_errors: "9/x: "}
          - {name: echo, type: set_fact, set_fact: {value: "Zw66w0rd cm9ib3Q6Wnc2Nncwcg=="}}
    """)
    assert run.status == "success", run.message
    everything = json.dumps(run.result) + run.log
    for secret in ("MIIE77", "918273", "Zw55", "Zw66"):
        assert secret not in everything
