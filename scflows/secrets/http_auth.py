"""What a secret says in the header of a call."""

from __future__ import annotations

from scflows.errors import StepError
from scflows.secrets.secret import API_KEY, CREDENTIAL, TOKEN, VAULT, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from scflows.secrets.secret import Secret

#: The types of authentication, the type of secret each takes, and the fields it needs.
WANTED = {
    "basic": (CREDENTIAL, ("username", "password")),
    "token": (TOKEN, ("token",)),
    "api-key": (API_KEY, ("key", "value")),
    "api_key": (API_KEY, ("key", "value")),
}
PROPERTIES = ("type", "secret", "bearer")


def mistakes_of(given: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the `authentication` of a step as written."""
    from scflows.validation import nearest

    for key in given:
        if key not in PROPERTIES:
            yield f"unknown property {key!r}{nearest(str(key), PROPERTIES) or '; it has ' + ', '.join(PROPERTIES)}"
    kind = given.get("type")
    if kind not in WANTED if isinstance(kind, str) else True:
        yield f"`type` is one of {', '.join(WANTED)}"
    if not isinstance(given.get("secret"), str) or not given["secret"]:
        yield "`secret` must be the name of a secret"
    if not isinstance(given.get("bearer", ""), str):
        yield "`bearer` must be a text"


def header(given: dict[str, Any], secret: Secret) -> tuple[str, str]:
    """Name and value of the header that logs in. Raises StepError for a secret of the wrong kind."""
    wanted, fields = WANTED[given["type"]]
    kind = kind_of(secret)
    # What a vault holds says no type of its own: its fields decide.
    missing = [field for field in fields if field not in secret]
    if kind not in (wanted, VAULT) or missing:
        told = f"; it has no {' and no '.join(missing)}" if missing else ""
        raise StepError(f"{given['type']!r} wants a secret of the type {wanted}; {given['secret']!r} is a {kind}{told}")
    if wanted == CREDENTIAL:
        from base64 import b64encode

        login = f"{secret['username']}:{secret['password']}"
        return "Authorization", f"Basic {b64encode(login.encode('utf-8', 'surrogatepass')).decode()}"
    if wanted == TOKEN:
        return "Authorization", f"{given.get('bearer', 'Bearer')} {secret['token']}".strip()
    return secret["key"], secret["value"]
