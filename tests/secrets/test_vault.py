"""Section 5: secrets in a vault, against a local stand-in."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from scflows.errors import StepError

pytestmark = pytest.mark.language("§5 Where secrets come from")


class Vault(BaseHTTPRequestHandler):
    asked = 0
    seen: list[Any]
    answers: list[tuple[int, object]]

    def do_GET(self) -> None:
        Vault.asked += 1
        Vault.seen.append({name.lower(): value for name, value in self.headers.items()})
        if self.headers["x-vault-token"] != "v4ult-token":
            status, value = 403, {"errors": ["permission denied"]}
        else:
            status, value = Vault.answers[min(Vault.asked, len(Vault.answers)) - 1]
        content = json.dumps(value).encode()
        self.send_response(status)
        if isinstance(value, str):
            self.send_header("location", value.replace("PORT", str(self.server.server_port)))
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def vault(opened, secrets_file, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vault)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Vault.asked = 0

    def open_them(*answers, expression=None, more="", **variables):
        Vault.answers, Vault.asked, Vault.seen = list(answers), 0, []
        uri = f"http://127.0.0.1:{server.server_port}/v1/secret/data/portal"
        more += f", jq_expression: '{expression}'" if expression else ""
        secrets_file(f"- {{name: portal, type: hashicorp-vault, uri: '{uri}'{more}}}")
        return opened(**{"HASHICORP_VAULT_TOKEN": "v4ult-token", **variables})

    yield open_them
    server.shutdown()
    thread.join()
    server.server_close()


def answer(**fields):
    return 200, {"data": {"data": fields, "metadata": {"version": 3}}}


def test_the_fields_are_data_data_of_the_answer(vault):
    secrets = vault(answer(token="fr0m-vault", port=8080))
    secret = secrets.find("portal")
    assert (secret.token, secret.port) == ("fr0m-vault", "8080")
    assert secrets.mask.text("fr0m-vault v4ult-token") == "*** ***"


def test_jq_shapes_the_fields(vault):
    secrets = vault(
        answer(user="anna", pw="opensesame", other="also-secret"), expression="{username: .user, password: .pw}"
    )
    secret = secrets.find("portal")
    assert sorted(secret) == ["password", "username"]
    assert secrets.mask.text("opensesame also-secret") == "*** ***"


def test_an_answer_is_kept_for_its_time(vault):
    secrets = vault(answer(token="first-one"), answer(token="second-one"))
    assert [secrets.find("portal").token for _ in range(3)] == ["first-one"] * 3
    assert Vault.asked == 1


def test_without_a_time_to_live_it_is_fetched_each_time(vault):
    secrets = vault(answer(token="first-one"), answer(token="second-one"), HASHICORP_VAULT_CACHE_TTL="0")
    assert [secrets.find("portal").token for _ in range(2)] == ["first-one", "second-one"]


def test_a_failure_is_not_kept(vault):
    secrets = vault((503, {"errors": []}), answer(token="then-it-works"))
    with pytest.raises(StepError, match=r"^secret 'portal': the vault responded with 503"):
        secrets.find("portal")
    assert secrets.find("portal").token == "then-it-works"


def test_threads_ask_once(vault):
    secrets = vault(answer(token="first-one"))
    threads = [threading.Thread(target=secrets.find, args=("portal",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Vault.asked == 1


@pytest.mark.parametrize(
    "fields", [{"token": "fr0m-v1"}, {"token": "fr0m-v1", "data": "more"}, {"token": "fr0m-v1", "metadata": "more"}]
)
def test_version_1_of_the_engine_has_the_fields_in_data(vault, fields):
    secrets = vault((200, {"data": fields, "lease_duration": 3600}))
    assert {name: secrets.find("portal")[name] for name in fields} == fields
    assert secrets.mask.text("fr0m-v1") == "***"


def test_a_namespace_is_sent(vault, secrets_file):
    secrets = vault(answer(token="fr0m-vault"), HASHICORP_VAULT_NAMESPACE="teams/one")
    assert secrets.find("portal").token == "fr0m-vault"
    assert Vault.seen[-1]["x-vault-namespace"] == "teams/one"
    secrets = vault(answer(token="fr0m-vault"), more=", namespace: teams/two", HASHICORP_VAULT_NAMESPACE="teams/one")
    assert secrets.find("portal").token == "fr0m-vault"
    assert Vault.seen[-1]["x-vault-namespace"] == "teams/two"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_standby_server_leads_to_the_active_one_with_the_token(vault, status):
    """The servers of a cluster have different addresses, and all of them are meant to get the token."""
    secrets = vault((status, "http://localhost:PORT/v1/secret/data/active"), answer(token="fr0m-active"))
    assert secrets.find("portal").token == "fr0m-active"
    assert Vault.seen[-1]["host"].startswith("localhost:")


def test_a_redirect_that_gives_up_encryption_gets_no_token():
    from types import SimpleNamespace

    from scflows.secrets.vault import _active_server

    def leads(before: str, target: str, status: int = 307) -> str:
        response: Any = SimpleNamespace(status_code=status, headers={"location": target}, url=before)
        return _active_server(response)

    assert leads("https://a.example.org/v1/x", "https://b.example.org/v1/x") == "https://b.example.org/v1/x"
    assert leads("https://a.example.org/v1/x", "/v1/y") == "https://a.example.org/v1/y"
    assert leads("https://a.example.org/v1/x", "http://b.example.org/v1/x") == ""
    assert leads("https://a.example.org/v1/x", "https://b.example.org/v1/x", 200) == ""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((200, {"data": None}), "the response of the vault contains no secret"),
        ((200, {"data": {"data": None, "metadata": {"deletion_time": "x"}}}), "contains no secret"),
        ((200, []), "the response of the vault contains no secret"),
        ((404, {}), "the vault responded with 404"),
    ],
)
def test_any_other_answer_is_an_error(vault, given, told):
    with pytest.raises(StepError, match=told):
        vault(given).find("portal")


def test_a_token_in_a_file_serves_and_a_wrong_one_is_told(vault, workspace):
    (workspace / "token").write_text("v4ult-token\n")
    variables = {"HASHICORP_VAULT_TOKEN": "", "HASHICORP_VAULT_TOKEN_FILE": "token"}
    assert vault(answer(token="fr0m-vault"), **variables).find("portal").token == "fr0m-vault"
    with pytest.raises(StepError, match="responded with 403"):
        vault(answer(token="x"), HASHICORP_VAULT_TOKEN="wrong").find("portal")
    with pytest.raises(StepError, match="HASHICORP_VAULT_TOKEN is not set"):
        vault(answer(token="x"), HASHICORP_VAULT_TOKEN="").find("portal")
    with pytest.raises(StepError, match="HASHICORP_VAULT_CACHE_TTL must be a duration such as 90 or 5m, not 'soon'"):
        vault(answer(token="x"), HASHICORP_VAULT_CACHE_TTL="soon").find("portal")


def test_a_vault_that_cannot_be_reached_is_an_error(opened, secrets_file):
    secrets_file("- {name: portal, type: hashicorp-vault, uri: 'http://127.0.0.1:1/x'}")
    with pytest.raises(StepError, match=r"^secret 'portal': the vault cannot be reached$"):
        opened(HASHICORP_VAULT_TOKEN="v4ult-token").find("portal")
