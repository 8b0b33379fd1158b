"""The store of backups: a folder or an S3 bucket. Objects are written atomically."""

from __future__ import annotations

import os

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Protocol, TypeVar

    Got = TypeVar("Got")

    class Store(Protocol):
        """Objects by key. Every call may raise StepError."""

        location: str  #: for messages

        def get(self, key: str) -> bytes | None:
            """Return the content of an object; None if it does not exist."""

        def put(self, key: str, content: bytes) -> None:
            """Write an object, replacing an existing one."""

        def remove(self, key: str) -> None:
            """Remove an object, if it exists."""

        def keys(self, beginning: str) -> list[str]:
            """Return the keys with a prefix, sorted."""


S3 = "s3://"
#: The usual AWS variables, with the fields of a secret. boto3 reads only the process's environment, not `.env`.
VARIABLES = {
    "AWS_ENDPOINT_URL": "url",
    "AWS_REGION": "region",
    "AWS_DEFAULT_REGION": "region",
    "AWS_ACCESS_KEY_ID": "access_key",
    "AWS_SECRET_ACCESS_KEY": "secret_key",
    "AWS_SESSION_TOKEN": "session_token",
}


class Folder:
    """A folder, called `shown` in messages."""

    def __init__(self, path: str, shown: str) -> None:
        self.path = path
        self.location = shown

    def get(self, key: str) -> bytes | None:
        try:
            with open(self._at(key), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(key, error) from error

    def put(self, key: str, content: bytes) -> None:
        from scflows.storage import replace

        try:
            replace(self._at(key), content)
        except OSError as error:
            raise self._failed(key, error) from error

    def remove(self, key: str) -> None:
        try:
            os.unlink(self._at(key))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._failed(key, error) from error

    def keys(self, beginning: str) -> list[str]:
        folder = os.path.dirname(beginning)
        try:
            names = os.listdir(self._at(folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed(folder, error) from error
        # Files whose names begin with a dot are being written.
        found = (f"{folder}/{name}" for name in names if not name.startswith("."))
        return sorted(key for key in found if key.startswith(beginning))

    def _at(self, key: str) -> str:
        return os.path.join(self.path, key)

    def _failed(self, key: str, error: OSError) -> StepError:
        return StepError(f"{self.location}/{key}: {error.strerror}")


class Bucket:
    """A bucket, or a prefix in it."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self.location = f"{S3}{bucket}/{self.prefix}".rstrip("/")

    def get(self, key: str) -> bytes | None:
        def read() -> bytes:
            content: bytes = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read()
            return content

        try:
            return self._called(key, read)
        except _Missing:
            return None

    def put(self, key: str, content: bytes) -> None:
        kind = "application/json" if key.endswith(".json") else "application/vnd.apache.parquet"
        given = {"Bucket": self.bucket, "Key": self.prefix + key, "Body": content, "ContentType": kind}
        self._called(key, lambda: self.client.put_object(**given))

    def remove(self, key: str) -> None:
        self._called(key, lambda: self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key))

    def keys(self, beginning: str) -> list[str]:
        def listed() -> Iterator[str]:
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + beginning):
                yield from (each["Key"].removeprefix(self.prefix) for each in page.get("Contents", ()))

        return sorted(self._called(beginning, lambda: list(listed())))

    def _called(self, key: str, call: Callable[[], Got]) -> Got:
        from scflows.connectors.s3 import errors, reason

        failures: tuple[type[Exception], ...] = (*errors(), OSError)
        try:
            return call()
        except failures as error:
            response = getattr(error, "response", None) or {}
            if response.get("Error", {}).get("Code") == "NoSuchKey":
                raise _Missing from error
            raise StepError(f"{self.location}/{key}: {reason(error)[0]}") from error


class _Missing(Exception):
    """A missing object."""


def open_store(
    written: str,
    fields: Mapping[str, str],
    environment: Mapping[str, str],
    folder: Callable[[str], str],
    remember: Callable[[str], object],
) -> Store:
    """Return the store for `s3://BUCKET/PREFIX` or a folder; for "" the bucket `S3_DATA_BUCKET` or the folder `backup`.

    `fields` are those of the secret with the credentials; `folder` returns the absolute path of a writable folder.
    `remember` masks the key in the environment. Raises StepError, MissingExtra.
    """
    if key := environment.get("AWS_SECRET_ACCESS_KEY"):
        remember(key)
    bucket = environment.get("S3_DATA_BUCKET", "")
    text = written or (S3 + bucket.removeprefix(S3) if bucket else "backup")
    if not text.startswith(S3):
        if "://" in text:
            raise StepError(f"{text!r} is not a valid store; use a folder or s3://BUCKET/PREFIX")
        return Folder(folder(text), text.rstrip("/"))
    name, _, prefix = text.removeprefix(S3).partition("/")
    if not name:
        raise StepError(f"{text!r} has no bucket")
    from scflows.connectors.s3 import client

    given = {field: environment[name] for name, field in VARIABLES.items() if environment.get(name)}
    return Bucket(client(fields or given), name, prefix)
