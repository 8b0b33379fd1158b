"""The header with which a secret authenticates an HTTP call."""

from __future__ import annotations

from scflows.errors import StepError
from scflows.secrets.secret import API_KEY, CREDENTIAL, TOKEN, VAULT, Secret, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


#: The types of authentication, each with the type of secret and the fields that it needs.
REQUIREMENTS = {
    "basic": (CREDENTIAL, ("username", "password")),
    "token": (TOKEN, ("token",)),
    "api-key": (API_KEY, ("key", "value")),
    "api_key": (API_KEY, ("key", "value")),
}
PROPERTIES = ("type", "secret", "bearer")


def mistakes_of(written: dict[str, Any]) -> Iterator[str]:
    """Yield the mistakes in the `authentication` of a step."""
    from scflows.validation import nearest

    for key in written:
        if key not in PROPERTIES:
            yield f"unknown property {key!r}{nearest(str(key), PROPERTIES) or '; use ' + ', '.join(PROPERTIES)}"
    kind = written.get("type")
    if kind not in REQUIREMENTS if isinstance(kind, str) else True:
        yield f"`type` must be one of {', '.join(REQUIREMENTS)}"
    if not isinstance(written.get("secret"), str) or not written["secret"]:
        yield "`secret` must be the name of a secret"
    if not isinstance(written.get("bearer", ""), str):
        yield "`bearer` must be text"


def header(written: dict[str, Any], secret: Secret) -> tuple[str, str]:
    """Return name and value of the header. Raises StepError for a secret of the wrong type."""
    needed_type, fields = REQUIREMENTS[written["type"]]
    kind = kind_of(secret)
    # Secrets in a vault have no type of their own, so only their fields are checked.
    missing = [field for field in fields if field not in secret]
    if kind not in (needed_type, VAULT) or missing:
        detail = f" without {' and '.join(missing)}" if missing else ""
        raise StepError(
            f"{written['type']!r} needs a secret of type {needed_type}; {written['secret']!r} is a {kind}{detail}"
        )
    if needed_type == CREDENTIAL:
        from base64 import b64encode

        login = f"{secret['username']}:{secret['password']}"
        return "Authorization", f"Basic {b64encode(login.encode('utf-8', 'surrogatepass')).decode()}"
    if needed_type == TOKEN:
        return "Authorization", f"{written.get('bearer', 'Bearer')} {secret['token']}".strip()
    return secret["key"], secret["value"]
