"""Secrets in HashiCorp Vault, its key-value engine of version 2: fetched when needed, kept for a while."""

from __future__ import annotations

import time

from scflows.errors import StepError
from scflows.secrets.secret import SecretEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scflows.secrets.secret import Filter
    from scflows.settings import Settings

VARIABLE = "HASHICORP_VAULT_TOKEN"
TTL = "HASHICORP_VAULT_CACHE_TTL"
KEPT_SECONDS = 60.0
#: Seconds that the connection, and each wait for more of the answer, may take.
WAIT = 15.0
#: The most that an answer may have, in bytes.
LARGEST = 1024 * 1024


class Vault:
    """Fetches secrets; keeps what it got, never a failure."""

    def __init__(self, settings: Settings, remember: Callable[[str], None], filter: Filter) -> None:
        from threading import Lock

        self._settings = settings
        self._remember = remember
        self._filter = filter
        self._kept: dict[str, tuple[float, SecretEntry]] = {}
        # Side by side, the items of a loop would all ask for the same secret.
        self._lock = Lock()

    def fetched(self, entry: SecretEntry) -> SecretEntry:
        """The fields that lie at the entry's uri. Raises StepError."""
        with self._lock:
            seconds = self._ttl()
            kept = self._kept.get(entry.name)
            if kept is not None and time.monotonic() - kept[0] < seconds:
                return kept[1]
            answer = SecretEntry(entry.name, entry.type, self._fields(entry))
            self._kept[entry.name] = (time.monotonic(), answer)
            return answer

    def _fields(self, entry: SecretEntry) -> dict[str, str]:
        where = f"secret {entry.name!r}"
        answer = self._ask(entry.fields["uri"], where)
        inner = answer.get("data") if isinstance(answer, dict) else None
        value = inner.get("data") if isinstance(inner, dict) else None
        if not isinstance(value, dict):
            raise StepError(f"{where}: the vault's answer has no data.data")
        expression = entry.fields.get("jq_expression")
        if expression:
            # All of it is secret, also what the expression leaves out, which an error of jq could show.
            for each in _texts(value):
                self._remember(each)
            value = self._filter(expression, value)
        if not isinstance(value, dict):
            raise StepError(f"{where}: jq_expression must give a mapping of fields")
        return {str(key): text for key, item in value.items() if (text := _text(item)) is not None}

    def _ask(self, uri: str, where: str) -> Any:
        import requests

        from scflows.connectors.http import session

        headers = {"X-Vault-Token": self._token().encode("utf-8", "surrogatepass")}
        try:
            with session.call("GET", uri, headers, secret_headers=tuple(headers), timeout=WAIT) as response:
                content, status, reason = bytearray(), response.status_code, response.reason
                for chunk in response.iter_content(LARGEST):
                    content.extend(chunk)
                    if len(content) > LARGEST:
                        raise StepError(f"{where}: the vault's answer has more than {LARGEST} bytes")
        except (requests.RequestException, ValueError) as error:
            told = "no answer in time" if isinstance(error, requests.Timeout) else "the vault cannot be reached"
            raise StepError(f"{where}: {told}") from error
        if status != 200:
            raise StepError(f"{where}: the vault answered {status} {reason}")
        from scflows import documents

        return documents.parse_json(documents.decode(bytes(content), where), where)

    def _token(self) -> str:
        from scflows.secrets.env import from_file

        token = self._settings.environment.get(VARIABLE) or from_file(self._settings, VARIABLE)
        if not token:
            raise StepError(f"{VARIABLE} is not set, which secrets of the vault need")
        self._remember(token)
        return token

    def _ttl(self) -> float:
        text = self._settings.environment.get(TTL)
        if not text:
            return KEPT_SECONDS
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 1e9:
            raise StepError(f"{TTL} {text!r} is no number of seconds")
        return seconds


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value
    from scflows import documents

    return documents.json_text(value)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [text for item in items for text in _texts(item)]
    text = _text(value)
    return [] if text is None else [text]
