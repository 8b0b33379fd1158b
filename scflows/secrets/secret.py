"""The contract of secret stores, and the secret that a step or template gets."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol

    Filter = Callable[[str, Any], Any]

    class SecretStore(Protocol):
        """A source of secrets."""

        def find(self, name: str) -> SecretEntry | None:
            """Return a secret, or None. Raises StepError if the store cannot be read."""

        def names(self) -> Iterable[str]:
            """Return the names of its secrets, as far as they are known."""


CREDENTIAL = "credential"
TOKEN = "token"
API_KEY = "api-key"
VAULT = "hashicorp-vault"
#: The types of secrets, each with its required fields.
TYPES = {CREDENTIAL: (), TOKEN: ("token",), API_KEY: ("key", "value"), "api_key": ("key", "value"), VAULT: ("uri",)}
#: The bits of a file's mode that grant access to other users.
OTHERS = 0o077


@dataclass(frozen=True)
class SecretEntry:
    """A secret in its store."""

    name: str
    type: str  #: a key of TYPES, `api-key` for both spellings
    fields: Mapping[str, str]


class Secret:
    """A secret as used by a step or template: `secret['token']` or `secret.token`."""

    def __init__(self, entry: SecretEntry) -> None:
        self._entry = entry

    @property
    def _type(self) -> str:
        return self._entry.type

    def __getitem__(self, field: str) -> str:
        """Return a field. Raises StepError for one that does not exist."""
        try:
            return self._entry.fields[field]
        except KeyError:
            known = ", ".join(self._entry.fields) or "none"
            message = f"secret {self._entry.name!r} ({self._type}) has no field {field!r}; it has {known}"
            raise StepError(message) from None

    def __getattr__(self, field: str) -> str:
        if field.startswith("_"):
            raise AttributeError(field)
        return self[field]

    def __contains__(self, field: object) -> bool:
        return field in self._entry.fields

    def __iter__(self) -> Any:
        return iter(self._entry.fields)

    def __str__(self) -> str:
        example = next(iter(self._entry.fields), "token")
        raise StepError(f"name a field of the secret: secret({self._entry.name!r}).{example}")

    def __repr__(self) -> str:
        return f"<secret {self._entry.name!r}>"


def kind_of(secret: Secret) -> str:
    """Return the type of a secret; `hashicorp-vault` for one whose type only its fields show."""
    return secret._type
