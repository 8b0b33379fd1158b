"""Look a secret up by its name, and have it masked from then on."""

from __future__ import annotations

from scflows.errors import StepError
from scflows.secrets.secret import API_KEY, VAULT, Secret, SecretEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from scflows.secrets.masking import Mask
    from scflows.settings import Settings

    Filter = Callable[[str, Any], Any]

    class SecretStore(Protocol):
        """One place that secrets come from."""

        def find(self, name: str) -> SecretEntry | None:
            """What it has under a name. Raises StepError when it cannot be read."""

        def names(self) -> Iterable[str]:
            """The names it has, as far as it can tell."""


#: Fields that say where, not what: the name of a header, a port.
SHOWN = {API_KEY: ("key", "port")}


class Secrets:
    """All the secrets of a workspace, as one run sees them: looks them up, and has them masked from then on."""

    def __init__(self, settings: Settings, mask: Mask, warn: Callable[[str], None], filter: Filter) -> None:
        """`warn` is given what is unwise about a secret, `filter` applies a jq expression."""
        from scflows.secrets.env import EnvironmentStore
        from scflows.secrets.file import FileStore
        from scflows.secrets.vault import Vault

        self._mask = mask
        self._warn = warn
        # What is set for one process or container goes over what lies in a file.
        self._stores: tuple[SecretStore, ...] = (EnvironmentStore(settings, warn), FileStore(settings, warn))
        self._vault = Vault(settings, self.remember, filter)
        self._warned: set[str] = set()
        self._known: set[tuple[str, ...]] = set()  #: what is masked already, of secrets the values of their fields

    def find(self, name: str) -> Secret:
        """The secret of that name. Raises StepError when nobody has it or it cannot be fetched."""
        if not isinstance(name, str):
            raise StepError(f"the name of a secret is a text, not {type(name).__name__!r}")
        for store in self._stores:
            entry = store.find(name)
            if entry is not None:
                break
        else:
            raise StepError(f"there is no secret {name!r}{self._near(name)}")
        if entry.type == VAULT:
            entry = self._vault.fetched(entry)
        self._remember_entry(entry)
        return Secret(entry)

    def has(self, name: str) -> bool:
        """Whether anybody has a secret of that name. Raises StepError for a store that cannot be read."""
        return any(store.find(name) is not None for store in self._stores)

    def foresee(self, names: Iterable[str]) -> None:
        """Mask secrets that will be asked for, as far as they are at hand: nothing is fetched, nothing raised."""
        for name in names:
            try:
                entry = next((found for store in self._stores if (found := store.find(name)) is not None), None)
            except StepError:
                continue  # Who asks for it is told.
            if entry is not None and entry.type != VAULT:
                self._remember_entry(entry)

    def remember(self, text: str) -> None:
        """Never show this text, however it is written."""
        from scflows.secrets.encodings import encodings_of

        if (text,) not in self._known:
            self._mask.add(encodings_of(text))
            self._known.add((text,))

    def _remember_entry(self, entry: SecretEntry) -> None:
        from scflows.secrets.encodings import basic, encodings_of

        values = (entry.name, *entry.fields.values())
        if values in self._known:
            return
        found: set[str] = set()
        for field, value in entry.fields.items():
            if field in SHOWN.get(entry.type, ("port",)):
                continue
            made = encodings_of(value)
            found.update(made)
            place = f"{entry.name}.{field}"
            if not made and value.strip() and place not in self._warned:
                self._warned.add(place)
                self._warn(f"the field {field!r} of the secret {entry.name!r} is too short to be masked")
        if "username" in entry.fields and "password" in entry.fields:
            found.update(basic(entry.fields["username"], entry.fields["password"]))
        self._mask.add(found)
        self._known.add(values)

    def _near(self, name: str) -> str:
        from difflib import get_close_matches

        known = sorted({each for store in self._stores for each in store.names()})
        near = get_close_matches(name, known, 1)
        if near:
            return f"; did you mean {near[0]!r}?"
        return f"; there are {', '.join(known)}" if known else "; there are none at all"
