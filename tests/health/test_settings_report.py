"""Which settings are in force, and that no secret is shown."""

from __future__ import annotations

import pytest

from scflows.errors import NotFound
from scflows.health.settings_report import effective, find_setting, masked
from scflows.settings import read_settings


def test_each_setting_says_where_it_comes_from(workspace, environment) -> None:
    (workspace / ".env").write_text("TIMEZONE=Europe/Madrid\nLOG_LEVEL=DEBUG\nOWN=1\n")
    given = {**environment, "LOG_LEVEL": "ERROR", "SQLALCHEMY_DATABASE_URI": "sqlite:////a/b"}
    settings = read_settings(str(workspace), given)
    found = {each.name: (each.value, each.source) for each in effective(settings, given)}
    assert found["WORKSPACE"][0] == str(workspace)
    assert found["TIMEZONE"] == ("Europe/Madrid", ".env")
    assert found["LOG_LEVEL"] == ("ERROR", "environment")
    assert found["FLOW_TIMEOUT_SECONDS"] == ("600", "default")
    assert found["SCFLOWS_DATABASE_URL"] == ("sqlite:////a/b", "environment")
    assert found["OWN"] == ("1", ".env")


def test_an_empty_variable_hides_the_env_file(workspace, environment) -> None:
    (workspace / ".env").write_text("TIMEZONE=Europe/Madrid\n")
    given = {**environment, "TIMEZONE": ""}
    assert find_setting(read_settings(str(workspace), given), given, "TIMEZONE").source == "default"


def test_a_setting_is_found_by_its_name_or_the_nearest_is_told(settings, environment) -> None:
    assert find_setting(settings, environment, "timezone").value == "UTC"
    with pytest.raises(NotFound) as error:
        find_setting(settings, environment, "TIMEZON")
    assert error.value.help == "did you mean 'TIMEZONE'?"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("API_TOKEN", "abc", "***"),
        ("SC_BEARER", "abc", "***"),
        ("FLASK_SECRET_KEY", "abc", "***"),
        ("FLOWER_BASIC_AUTH", "ana:abc", "***"),
        ("db_password", "abc", "***"),
        ("API_TOKEN", "", ""),
        ("SECRETS_PATH", "/data/secrets.yml", "/data/secrets.yml"),
        ("API_TOKEN_FILE", "/run/token", "/run/token"),
        ("CELERY_BROKER", "amqp://ana:pa/s@s@host:5672//", "amqp://***@host:5672//"),
        ("BROKER", "amqp://host:5672//", "amqp://host:5672//"),
        ("HOOK", "https://host/ping?token=abc&x=1", "https://host/ping?token=***&x=1"),
        ("SCFLOWS_DATABASE_URL", "sqlite:////home/a@b/x", "sqlite:////home/a@b/x"),
    ],
)
def test_no_secret_is_shown(name, value, shown) -> None:
    assert masked(name, value) == shown
