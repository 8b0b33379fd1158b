"""Secrets in `secrets.yml`: a list of mappings, read when a secret is first needed."""

from __future__ import annotations

import os

from scflows.errors import FlowError, StepError
from scflows.secrets.secret import API_KEY, CREDENTIAL, OTHERS, TYPES, SecretEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from scflows.settings import Settings
    from scflows.validation import Located


class FileStore:
    """The store of secrets in `secrets.yml`."""

    def __init__(self, settings: Settings, warn: Callable[[str], None]) -> None:
        self._path = settings.secrets_path
        self._warn = warn
        self._entries: dict[str, SecretEntry] | None = None

    def find(self, name: str) -> SecretEntry | None:
        return self._all().get(name)

    def names(self) -> Iterable[str]:
        return self._all()

    def _all(self) -> dict[str, SecretEntry]:
        if self._entries is None:
            self._entries = self._read()
        return self._entries

    def _read(self) -> dict[str, SecretEntry]:
        shown = os.path.basename(self._path)
        try:
            with open(self._path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode & 0o777
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise StepError(f"{shown}: cannot be read: {error.strerror}") from error
        if mode & OTHERS:
            self._warn(f"{shown} is accessible to other users (mode {mode:04o}): chmod 600 {shown}")
        from scflows.validation import Located

        try:
            document = Located(content, shown)
        except FlowError as error:
            raise _error(error.mistakes) from None
        entries = _entries(document)
        mistakes = [mistake for mistake in document.mistakes if mistake.severity == "error"]
        if mistakes:
            raise _error(mistakes)
        return entries


def _entries(document: Located) -> dict[str, SecretEntry]:
    entries: dict[str, SecretEntry] = {}
    if document.value is None:
        return entries
    if not isinstance(document.value, list):
        document.mistake("secrets must be a list of mappings: - {name: portal, type: token, token: …}")
        return entries
    for index, written in enumerate(document.value):
        entry = _entry(document, written, index)
        if entry is None:
            continue
        if entry.name in entries:
            document.mistake(f"there are two secrets named {entry.name!r}", index, "name")
        entries[entry.name] = entry
    return entries


def _entry(document: Located, written: Any, index: int) -> SecretEntry | None:
    from scflows.validation import nearest

    if not isinstance(written, dict):
        document.mistake(f"secret {index + 1} must be a mapping", index)
        return None
    name = written.get("name")
    if not isinstance(name, str) or not name:
        document.mistake(f"secret {index + 1} needs a text as `name`", index, "name")
        return None
    kind = written.get("type", CREDENTIAL)
    if kind not in TYPES if isinstance(kind, str) else True:
        near = nearest(kind, TYPES) if isinstance(kind, str) else ""
        document.mistake(f"secret {name!r}: `type` must be one of {', '.join(TYPES)}{near}", index, "type")
        return None
    fields = {}
    for key, value in written.items():
        if key in ("name", "type") or value is None:
            continue
        text = _text(value)
        if not isinstance(key, str) or text is None:
            # The message must not contain the value, which is secret.
            document.mistake(f"secret {name!r}: {key!r} must be text", index, key)
        else:
            fields[key] = text
    for field in TYPES[kind]:
        if not fields.get(field):
            problem = "is missing" if written.get(field) is None else "is empty or not text"
            document.mistake(f"secret {name!r} ({kind}): {field!r} {problem}", index, field)
    if not fields:
        document.mistake(f"secret {name!r} has no fields, for example username and password", index)
    return SecretEntry(name, API_KEY if kind == "api_key" else kind, fields)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if hasattr(value, "isoformat"):
        text: str = value.isoformat()
        return text
    return None


def _error(mistakes: list[Any]) -> StepError:
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return StepError(f"{mistakes[0]}{more}")
