"""Where secrets come from, what a step is given of one, and what of it must not be shown."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol

    Filter = Callable[[str, Any], Any]

    class SecretStore(Protocol):
        """One place that secrets come from."""

        def find(self, name: str) -> SecretEntry | None:
            """What it has under a name. Raises StepError when it cannot be read."""

        def names(self) -> Iterable[str]:
            """The names it has, as far as it can tell."""


CREDENTIAL = "credential"
TOKEN = "token"
API_KEY = "api-key"
VAULT = "hashicorp-vault"
#: The types of secrets, with the fields that each must have.
TYPES = {CREDENTIAL: (), TOKEN: ("token",), API_KEY: ("key", "value"), "api_key": ("key", "value"), VAULT: ("uri",)}
#: The bits of a file's mode that let others than its owner read or write it.
OTHERS = 0o077


@dataclass(frozen=True)
class SecretEntry:
    """A secret as its store has it."""

    name: str
    type: str  #: a key of TYPES, `api-key` for both of its spellings
    fields: Mapping[str, str]


class Secret:
    """A secret in the hands of a step or template: its fields, by `secret['token']` or `secret.token`."""

    def __init__(self, entry: SecretEntry) -> None:
        self._entry = entry

    @property
    def _type(self) -> str:
        return self._entry.type

    def __getitem__(self, field: str) -> str:
        """A field. Raises StepError, naming those there are, for one that is not there."""
        try:
            return self._entry.fields[field]
        except KeyError:
            told = ", ".join(self._entry.fields) or "none"
            message = f"the secret {self._entry.name!r} ({self._type}) has no field {field!r}; it has {told}"
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
        raise StepError(f"say which field of the secret is meant: secret({self._entry.name!r}).{example}")

    def __repr__(self) -> str:
        return f"<secret {self._entry.name!r}>"


def kind_of(secret: Secret) -> str:
    """The type of a secret, `hashicorp-vault` where only its fields can tell."""
    return secret._type
