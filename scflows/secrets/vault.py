"""Secrets in HashiCorp Vault (key-value engines), fetched when needed and cached for a while."""

from __future__ import annotations

import time

from scflows.errors import StepError
from scflows.secrets.secret import SecretEntry
from scflows.validation import duration_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from requests import Response

    from scflows.secrets.secret import Filter
    from scflows.settings import Settings

VARIABLE = "HASHICORP_VAULT_TOKEN"
NAMESPACE = "HASHICORP_VAULT_NAMESPACE"
TTL = "HASHICORP_VAULT_CACHE_TTL"
CACHE_SECONDS = 60.0
#: Seconds to wait for the connection and for each part of the response.
WAIT = 15.0
#: The statuses with which a standby server leads to the active one.
REDIRECTS = (301, 302, 307, 308)
#: Maximum size of a response, in bytes.
LARGEST = 1024 * 1024


class Vault:
    """A client that fetches secrets and caches them, but not failures."""

    def __init__(self, settings: Settings, remember: Callable[[str], None], filter: Filter) -> None:
        from threading import Lock

        self._settings = settings
        self._remember = remember
        self._filter = filter
        self._cache: dict[str, tuple[float, SecretEntry]] = {}
        # Otherwise the parallel items of a loop would all fetch the same secret.
        self._lock = Lock()

    def fetch(self, entry: SecretEntry) -> SecretEntry:
        """Return the entry with the fields at its uri. Raises StepError."""
        with self._lock:
            seconds = self._ttl()
            cached = self._cache.get(entry.name)
            if cached is not None and time.monotonic() - cached[0] < seconds:
                return cached[1]
            response = SecretEntry(entry.name, entry.type, self._fields(entry))
            self._cache[entry.name] = (time.monotonic(), response)
            return response

    def _fields(self, entry: SecretEntry) -> dict[str, str]:
        title = f"secret {entry.name!r}"
        response = self._request(entry.fields["uri"].strip(), entry.fields.get("namespace"), title)
        value = _data(response)
        if not isinstance(value, dict):
            raise StepError(f"{title}: the response of the vault contains no secret")
        expression = entry.fields.get("jq_expression")
        if expression:
            # Mask also what the expression drops, because a jq error could show it.
            for each in _texts(value):
                self._remember(each)
            value = self._filter(expression, value)
        if not isinstance(value, dict):
            raise StepError(f"{title}: jq_expression must return a mapping of fields")
        return {str(key): text for key, item in value.items() if (text := _text(item)) is not None}

    def _request(self, uri: str, namespace: str | None, title: str) -> Any:
        from scflows.connectors.http import session
        from scflows.connectors.http.response import HttpError

        headers = {"X-Vault-Token": self._token().encode("utf-8", "surrogatepass")}
        namespace = namespace or self._settings.environment.get(NAMESPACE)
        if namespace:
            headers["X-Vault-Namespace"] = namespace.encode("utf-8", "surrogatepass")
        try:
            response = session.call("GET", uri, headers, timeout=WAIT, may_follow=lambda target: False)
            active = _active_server(response)
            if active:
                # A standby server names the active one. The token is meant for all servers of the cluster.
                response.close()
                response = session.call("GET", active, headers, timeout=WAIT, may_follow=lambda target: False)
            with response:
                content, is_whole = session.read(response, LARGEST, WAIT)
        except (HttpError, ValueError) as error:
            is_timeout = isinstance(error, HttpError) and error.is_timeout
            reason = "no answer in time" if is_timeout else "the vault cannot be reached"
            raise StepError(f"{title}: {reason}") from error
        if not is_whole:
            raise StepError(f"{title}: the response of the vault is larger than {LARGEST} bytes")
        if response.status_code != 200:
            raise StepError(f"{title}: the vault responded with {response.status_code} {response.reason}")
        from scflows import documents

        return documents.parse_json(documents.decode(content, title), title)

    def _token(self) -> str:
        from scflows.secrets.env import from_file

        token = self._settings.environment.get(VARIABLE) or from_file(self._settings, VARIABLE)
        if not token:
            raise StepError(f"{VARIABLE} is not set; secrets in the vault need it")
        self._remember(token)
        return token

    def _ttl(self) -> float:
        text = self._settings.environment.get(TTL)
        if not text:
            return CACHE_SECONDS
        seconds = duration_seconds(text)
        if seconds is None or not 0 <= seconds < 1e9:
            raise StepError(f"{TTL} must be a duration such as 90 or 5m, not {text!r}")
        return seconds


def _data(response: Any) -> Any:
    """Return the fields in a response: of version 1 of the key-value engine `data`, of version 2 `data.data`."""
    data = response.get("data") if isinstance(response, dict) else None
    if not isinstance(data, dict) or "data" not in data:
        return data
    # A secret of version 1 may have a field `data`, too. Version 2 adds metadata, even without data if it is deleted.
    inner = data["data"]
    is_second = isinstance(inner, dict) and ("metadata" in data or len(data) == 1)
    return inner if is_second or (inner is None and "metadata" in data) else data


def _active_server(response: Response) -> str:
    """Return the address to which a standby server redirects; not one without encryption instead of with it."""
    from urllib.parse import urljoin

    target = response.headers.get("location") if response.status_code in REDIRECTS else None
    if not target:
        return ""
    address, before = urljoin(str(response.url), target), str(response.url)
    return address if address.startswith("https://") or before.startswith("http://") else ""


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
