"""Secrets in the environment and `.env`: `SECRET_NAME`, `SECRET_NAME__FIELD`, each also with `_FILE`."""

from __future__ import annotations

import os

from scflows.errors import StepError
from scflows.secrets.secret import API_KEY, CREDENTIAL, OTHERS, TOKEN, SecretEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scflows.settings import Settings

#: Without a prefix, flows could read every variable of the environment.
PREFIX = "SECRET_"
FIELD = "__"
FILE = "_FILE"
LARGEST = 1024 * 1024  #: maximum size of a file that contains a secret, in bytes


class EnvironmentStore:
    """The store of secrets in the environment."""

    def __init__(self, settings: Settings, warn: Callable[[str], None]) -> None:
        self._settings = settings
        self._warn = warn
        self._has_checked_file = False
        self._found: dict[str, SecretEntry | None] = {}

    def find(self, name: str) -> SecretEntry | None:
        if name not in self._found:
            self._found[name] = self._read(name)
        return self._found[name]

    def names(self) -> Iterable[str]:
        for variable in self._settings.environment:
            if variable.startswith(PREFIX):
                yield variable.removeprefix(PREFIX).removesuffix(FILE).partition(FIELD)[0].lower()

    def _read(self, name: str) -> SecretEntry | None:
        variable = variable_of(name)
        fields = {}
        token = self._value(variable)
        if token is not None:
            fields[TOKEN] = token
        beginning = variable + FIELD
        for other in self._settings.environment:
            if other.startswith(beginning) and other != beginning:
                field = other.removeprefix(beginning).removesuffix(FILE)
                value = self._value(beginning + field)
                if field and value is not None:
                    fields[field.lower()] = value
        if not fields:
            return None
        kind = TOKEN if TOKEN in fields else API_KEY if {"key", "value"} <= set(fields) else CREDENTIAL
        return SecretEntry(name, kind, fields)

    def _value(self, variable: str) -> str | None:
        value = self._settings.environment.get(variable)
        if not value:
            return from_file(self._settings, variable)
        if self._settings.given is not None and variable not in self._settings.given:
            self._check_file_mode()
        return value

    def _check_file_mode(self) -> None:
        """Warn once if other users may read the `.env` file that contains a secret."""
        if not self._has_checked_file:
            self._has_checked_file = True
            mode = os.stat(self._settings.env_file).st_mode & 0o777
            if mode & OTHERS:
                self._warn(f".env is accessible to other users (mode {mode:04o}): chmod 600 .env")


def variable_of(name: str) -> str:
    """Return the variable of a secret: its name in capitals, with `_` for all but ASCII letters and digits."""
    letters = (letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
    return PREFIX + "".join(letters).upper()


def from_file(settings: Settings, variable: str) -> str | None:
    """Return the content of the file that `<variable>_FILE` names, without the final newline; None if it is not set.

    Raises StepError if the file cannot be read.
    """
    named = settings.environment.get(variable + FILE)
    if not named:
        return None
    path = os.path.join(settings.home, os.path.expanduser(named))
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise StepError(f"{variable}{FILE}: the file it names cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise StepError(f"{variable}{FILE}: the file it names is larger than {LARGEST} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise StepError(f"{variable}{FILE}: the file it names is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")
