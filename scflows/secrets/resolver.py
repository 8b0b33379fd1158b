"""Look up secrets by name and mask them from then on."""

from __future__ import annotations

from scflows.errors import StepError
from scflows.secrets.secret import API_KEY, VAULT, Secret, SecretEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scflows.secrets.masking import Mask
    from scflows.secrets.secret import Filter, SecretStore
    from scflows.settings import Settings

#: Fields that are shown: the name of a header, a port.
SHOWN = {API_KEY: ("key", "port")}
#: Fields that are masked but not secret, also inside structured secrets: a run keeps results that contain them.
PUBLIC = ("username", "user", "login", "host", "hostname", "from", "sender", "email", "security", "mechanism", "type")
#: Fields with an address, which is not secret if it names a server and nothing more.
ADDRESSES = ("url", "uri", "endpoint")


class Secrets:
    """The secrets of a workspace, for one run."""

    def __init__(self, settings: Settings, mask: Mask, warn: Callable[[str], None], filter: Filter) -> None:
        """Pass warnings about secrets to `warn`; `filter` applies a jq expression."""
        from scflows.secrets.env import EnvironmentStore
        from scflows.secrets.file import FileStore
        from scflows.secrets.vault import Vault

        self._mask = mask
        self._warn = warn
        # The environment, which is set for one process or container, takes precedence over the file.
        self._stores: tuple[SecretStore, ...] = (EnvironmentStore(settings, warn), FileStore(settings, warn))
        self._vault = Vault(settings, self.remember, filter)
        self._warned: set[str] = set()
        self._masked: set[tuple[str, ...]] = set()  #: what is masked already

    def find(self, name: str) -> Secret:
        """Return a secret. Raises StepError if it does not exist or cannot be fetched."""
        if not isinstance(name, str):
            raise StepError(f"the name of a secret must be text, not {type(name).__name__!r}")
        for store in self._stores:
            entry = store.find(name)
            if entry is not None:
                break
        else:
            raise StepError(f"secret {name!r} not found{self.hint(name)}")
        if entry.type == VAULT:
            entry = self._vault.fetch(entry)
        self._remember_entry(entry)
        return Secret(entry)

    def has(self, name: str) -> bool:
        """Return True if the secret exists. Raises StepError for a store that cannot be read."""
        return any(store.find(name) is not None for store in self._stores)

    def mask_in_advance(self, names: Iterable[str]) -> None:
        """Mask secrets that will be used later, except those that must be fetched. Errors are ignored."""
        for name in names:
            try:
                entry = next((found for store in self._stores if (found := store.find(name)) is not None), None)
            except StepError:
                continue  # The error is raised when the secret is used.
            if entry is not None and entry.type != VAULT:
                self._remember_entry(entry)

    def remember(self, text: str) -> None:
        """Mask a text, and the values in it if it is structured, in all their encodings."""
        from scflows.secrets.encodings import encodings_of
        from scflows.secrets.structure import values_in

        if (text,) not in self._masked:
            self._mask.add(encodings_of(text))
            for name, value in values_in(text):
                self._mask.add(encodings_of(value), name not in PUBLIC)
            self._masked.add((text,))

    def remember_login(self, uri: str) -> None:
        """Mask the login in a uri, if there is one."""
        from scflows.secrets.encodings import encodings_of
        from scflows.secrets.structure import logins_in

        for name, value in logins_in(uri):
            self._mask.add(encodings_of(value), name not in PUBLIC)

    def _remember_entry(self, entry: SecretEntry) -> None:
        from scflows.secrets.encodings import basic, encodings_of
        from scflows.secrets.structure import values_in

        values = (entry.name, *entry.fields.values())
        if values in self._masked:
            return
        private: set[str] = set()
        public: set[str] = set()
        for field, value in entry.fields.items():
            if field in SHOWN.get(entry.type, ("port",)):
                continue
            parts = list(values_in(value))
            is_public = field in PUBLIC or (field in ADDRESSES and not parts and _is_server(value))
            encoded = encodings_of(value)
            (public if is_public else private).update(encoded)
            for name, part in parts:
                (public if name in PUBLIC else private).update(encodings_of(part))
            title = f"{entry.name}.{field}"
            if not encoded and value.strip() and title not in self._warned:
                self._warned.add(title)
                self._warn(f"field {field!r} of secret {entry.name!r} is too short to be masked")
        if "username" in entry.fields and "password" in entry.fields:
            private.update(basic(entry.fields["username"], entry.fields["password"]))
        self._mask.add(private)
        # A text that is also a secret, for example a password like the user name, stays one.
        self._mask.add(public - private, is_private=False)
        self._masked.add(values)

    def names(self) -> list[str]:
        """Return the names of all secrets. Raises StepError for a store that cannot be read."""
        return sorted({each for store in self._stores for each in store.names()})

    def hint(self, name: str) -> str:
        """Return what to do about a secret that does not exist, as the end of a message."""
        from scflows.secrets.env import variable_of
        from scflows.validation import nearest

        known = self.names()
        if known:
            return nearest(name, known) or f"; defined are {', '.join(known)}"
        return f" (none are defined); add it to data/secrets.yml or set {variable_of(name)}__…"


def _is_server(address: str) -> bool:
    """Return True if an address has nothing after its host and port, or just a number, such as that of a database."""
    _, separator, rest = address.partition("://")
    host, _, path = rest.partition("/")
    return bool(separator and host) and not any(sign in host for sign in "@?#") and (not path or path.isdecimal())
