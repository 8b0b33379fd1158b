"""Clients of S3 and compatible stores. The library is imported on first use."""

from __future__ import annotations

from scflows.errors import MissingExtra

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: Seconds to wait for a connection and for each part of a response.
CONNECT_WAIT, READ_WAIT = 10, 60
#: The fields of a secret, with the names of boto3.
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
    """Return a client for the store described by a secret's fields. Raises MissingExtra.

    Without credentials the usual AWS variables and files apply; `url` is the address of a store other than Amazon's.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise MissingExtra("boto3", "s3") from error
    options = {FIELDS[name]: value for name, value in fields.items() if name in FIELDS and value}
    # Other stores than Amazon's need the bucket in the path, and many do not support the newer checksums.
    style = {"addressing_style": "path"} if "endpoint_url" in options else {}
    settings = Config(
        connect_timeout=CONNECT_WAIT,
        read_timeout=READ_WAIT,
        retries={"max_attempts": 3, "mode": "standard"},
        s3=style,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    options.setdefault("region_name", "us-east-1")
    return boto3.session.Session().client("s3", config=settings, **options)


def errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that a call of a client may raise."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, Boto3Error


def reason(error: Exception) -> tuple[str, int | None]:
    """Return why a call failed, in one line, and the HTTP status if there was a response."""
    response: Any = getattr(error, "response", None) or {}
    details = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code, text = str(details.get("Code", "")), str(details.get("Message", ""))
    return (f"{code}: {text}".strip(": ") if code or text else " ".join(str(error).split())), status
