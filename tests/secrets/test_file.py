"""Section 5: `secrets.yml`."""

from __future__ import annotations

import pytest

from scflows.errors import StepError

pytestmark = pytest.mark.language("§5 Where secrets come from")

FILE = """
- {name: login, username: anna, password: opensesame}
- {name: portal, type: token, token: 12345678}
- {name: weather, type: api-key, key: X-Api-Key, value: abcdefgh}
- {name: older, type: api_key, key: X-Api-Key, value: abcdefgh}
- {name: warehouse, host: db.example.org, port: 5432, tls: yes, since: 2024-03-05}
"""


def test_each_type_has_its_fields(opened, secrets_file):
    secrets_file(FILE)
    secrets = opened()
    assert secrets.find("login")["password"] == "opensesame"
    assert secrets.find("portal").token == "12345678"
    assert [secrets.find(name).key for name in ("weather", "older")] == ["X-Api-Key", "X-Api-Key"]
    warehouse = secrets.find("warehouse")
    assert [warehouse[field] for field in warehouse] == ["db.example.org", "5432", "true", "2024-03-05"]
    assert secrets.warnings == []


def test_the_name_of_a_header_and_a_port_are_not_masked(opened, secrets_file):
    secrets_file(FILE)
    secrets = opened()
    secrets.find("weather")
    secrets.find("warehouse")
    assert secrets.mask.text("X-Api-Key: abcdefgh at db.example.org:5432") == "X-Api-Key: *** at ***:5432"


def test_a_field_that_is_not_there_names_those_that_are(opened, secrets_file):
    secrets_file(FILE)
    with pytest.raises(StepError, match=r"'login' \(credential\) has no field 'token'; it has username, password$"):
        opened().find("login")["token"]


def test_an_unknown_secret_names_the_nearest(opened, secrets_file):
    secrets_file(FILE)
    with pytest.raises(StepError, match=r"^secret 'portl' not found; did you mean 'portal'\?$"):
        opened().find("portl")


def test_without_the_file_flows_that_need_no_secret_run(run_flow):
    run = run_flow(
        """
        steps:
          - {name: a, type: set_fact, set_fact: {value: 1}}
          - {name: b, type: rest, when: false, rest: {uri: "http://x/{{ secret('x').token }}"}}
        """
    )
    assert run.status == "success", run.message


def test_a_missing_secret_is_a_step_error(run_flow):
    run = run_flow("""steps: [{name: b, type: rest, rest: {uri: "http://x/{{ secret('x').token }}"}}]""")
    assert run.message == "b: secret 'x' not found (none are defined); add it to data/secrets.yml or set SECRET_X__…"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- {name: a, username: u", "secrets.yml:2:1: error: YAML"),
        ("name: a", "secrets.yml:1:1: error: secrets must be a list of mappings"),
        ("- text", "secrets.yml:1:3: error: secret 1 must be a mapping"),
        ("- {username: u}", "secrets.yml:1:3: error: secret 1 needs a text as `name`"),
        ("- name: a\n  type: tokn\n  token: x", "secrets.yml:2:3: error: secret 'a': `type` must be one of"),
        ("- name: a\n  type: token", "secrets.yml:1:3: error: secret 'a' (token): 'token' is missing"),
        ("- name: a\n  type: api-key\n  key: K\n  value: ''", "4:3: error: secret 'a' (api-key): 'value' is empty"),
        ("- name: a\n  password: [hush]", "secrets.yml:2:3: error: secret 'a': 'password' must be text"),
        ("- name: a", "secrets.yml:1:3: error: secret 'a' has no fields"),
        ("- {name: a, token: x}\n- {name: a, token: y}", "secrets.yml:2:4: error: there are two secrets"),
        ("- {name: a, token: !!python/name:os.system ''}", "secrets.yml:1:"),
        ("- 1\n- 2", "(and 1 more)"),
    ],
)
def test_a_bad_file_is_one_error_with_its_place(opened, secrets_file, text, told):
    secrets_file(text)
    with pytest.raises(StepError) as caught:
        opened().find("a")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_file_that_others_may_read_is_warned_of(opened, secrets_file):
    secrets_file(FILE, mode=0o644)
    secrets = opened()
    secrets.find("login")
    secrets.find("portal")
    assert secrets.warnings == ["secrets.yml is accessible to other users (mode 0644): chmod 600 secrets.yml"]


def test_an_empty_file_has_no_secrets(opened, secrets_file):
    secrets_file("")
    with pytest.raises(StepError, match="none are defined"):
        opened().find("a")
