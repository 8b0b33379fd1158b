"""Clients of S3 and what speaks its language; the library of its extra is loaded with the first of them."""

from __future__ import annotations

from scflows.errors import MissingExtra

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: Seconds that a connection, and each wait for more of an answer, may take.
CONNECT_WAIT, READ_WAIT = 10, 60
#: Fields of a secret, by the names of boto3's.
FIELDS = {
    "url": "endpoint_url",
    "endpoint_url": "endpoint_url",
    "region": "region_name",
    "username": "aws_access_key_id",
    "access_key": "aws_access_key_id",
    "password": "aws_secret_access_key",
    "secret_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}


def client(fields: Mapping[str, str]) -> Any:
    """A client for the store that a secret's fields name. Raises MissingExtra.

    Without a login in them the usual AWS variables and files hold; `url` names a store that is not Amazon's.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise MissingExtra("boto3", "s3") from error
    given = {FIELDS[name]: value for name, value in fields.items() if name in FIELDS and value}
    # Stores that are not Amazon's want the bucket in the path; the checksums of newer versions are unknown to many.
    style = {"addressing_style": "path"} if "endpoint_url" in given else {}
    settings = Config(
        connect_timeout=CONNECT_WAIT,
        read_timeout=READ_WAIT,
        retries={"max_attempts": 3, "mode": "standard"},
        s3=style,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    given.setdefault("region_name", "us-east-1")
    return boto3.session.Session().client("s3", config=settings, **given)


def reason(error: Exception) -> tuple[str, int | None]:
    """Why a call failed in a line, and the status of the answer where there was one."""
    answer: Any = getattr(error, "response", None) or {}
    told = answer.get("Error", {})
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code, text = str(told.get("Code", "")), str(told.get("Message", ""))
    return (f"{code}: {text}".strip(": ") if code or text else " ".join(str(error).split())), status
