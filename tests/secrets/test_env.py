"""Secrets in the environment and `.env`."""

from __future__ import annotations

import pytest

from scflows.errors import StepError
from scflows.secrets.secret import kind_of

pytestmark = pytest.mark.language("§5 Where secrets come from")


def test_a_variable_alone_is_a_token(opened):
    secret = opened(SECRET_MY_PORTAL="t0ken").find("my portal")
    assert (kind_of(secret), secret.token) == ("token", "t0ken")


def test_two_underscores_come_before_a_field(opened):
    secrets = opened(
        SECRET_DESK__USERNAME="anna",
        SECRET_DESK__PASSWORD="opensesame",
        SECRET_API__KEY="X-K",
        SECRET_API__VALUE="vvvv",
    )
    desk = secrets.find("desk")
    assert (kind_of(desk), desk.username, desk.password) == ("credential", "anna", "opensesame")
    assert kind_of(secrets.find("api")) == "api-key"


def test_a_file_is_read_without_the_end_of_its_last_line(opened, workspace):
    (workspace / "token").write_text("first\nsecond\n")
    (workspace / "password").write_text("opensesame")
    secrets = opened(
        SECRET_PORTAL_FILE="token", SECRET_DESK__USERNAME="anna", SECRET_DESK__PASSWORD_FILE=str(workspace / "password")
    )
    assert secrets.find("portal").token == "first\nsecond"
    assert secrets.find("desk").password == "opensesame"


def test_the_env_file_counts_and_the_environment_wins(opened, workspace):
    (workspace / ".env").write_text("SECRET_PORTAL=of the file\nSECRET_OTHER=also\n")
    secrets = opened(SECRET_PORTAL="of the process")
    assert secrets.find("portal").token == "of the process"
    assert secrets.find("other").token == "also"


def test_an_env_file_that_others_may_read_is_warned_of_when_it_is_used(opened, workspace):
    (workspace / ".env").write_text("SECRET_PORTAL=of the file\n")
    (workspace / ".env").chmod(0o644)
    secrets = opened(SECRET_OTHER="of the process")
    secrets.find("other")
    assert secrets.warnings == []
    secrets.find("portal")
    assert secrets.warnings == [".env is accessible to other users (mode 0644): chmod 600 .env"]


def test_the_environment_goes_over_secrets_yml(opened, secrets_file):
    secrets_file("- {name: portal, type: token, token: of the file}")
    assert opened(SECRET_PORTAL="of the process").find("portal").token == "of the process"


def test_other_variables_are_out_of_reach(opened):
    with pytest.raises(StepError, match="secret 'HOME' not found"):
        opened(HASHICORP_VAULT_TOKEN="x").find("HOME")


def test_a_file_that_is_gone_is_an_error_naming_the_variable(opened):
    with pytest.raises(StepError, match=r"^SECRET_PORTAL_FILE: the file it names cannot be read: No such file"):
        opened(SECRET_PORTAL_FILE="gone").find("portal")


def test_what_the_config_shows_is_masked(flows):
    answer = flows("config", "--json", SECRET_PORTAL="t0ken-value", HASHICORP_VAULT_TOKEN="v4ult-token")
    assert answer.code == 0, answer.err
    assert "t0ken-value" not in answer.out
    assert "v4ult-token" not in answer.out
