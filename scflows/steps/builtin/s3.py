"""Read and write objects of an S3 store."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

WRITING = ("put", "delete")


@dataclass(frozen=True)
class S3Step(Step):
    """Get, put, list or delete objects of S3 or a compatible store.

    The secret has `access_key` and `secret_key` (or `username` and `password`), for other stores than Amazon's `url`,
    and optionally `region` and `session_token`. Without `path`, `get` returns the text of the object and `put` sends
    the value of `data_key` as JSON. `put`, and `get` with a `path`, return `{bucket, key, bytes}`, `list` a list of
    `{key, bytes, changed}`, `exists` true or false, `delete` whether the object existed.

    - name: ship the day
      type: s3
      s3: {secret: store, mode: put, bucket: reports, key: "{{ params.day }}.csv", path: output/day.csv}
    - name: what is there
      type: s3
      s3: {secret: store, mode: list, bucket: reports, key: "2026-"}
    """

    bucket: str = option(template=True, help="the bucket of the object")
    mode: str = option("get", choices=("get", "put", "list", "delete", "exists"))
    key: str = option("", template=True, help="the key of the object; for `list` a prefix")
    secret: str | None = option(None, help="name of the secret with the credentials (default: the usual AWS variables)")
    path: str | None = option(None, template=True, help="a file in DATA_PATH")
    data_key: str | None = option(
        None, help="the key of the value that `put` sends, as JSON or unchanged if it is text"
    )
    max_bytes: int = option(64 * 1024 * 1024, minimum=1, help="maximum size for `get` without a `path`")
    max_items: int = option(10_000, minimum=1, help="maximum number of objects for `list`")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        mode = options.get("mode") or "get"
        if mode != "list" and not options.get("key"):
            yield "key", f"option 'key' is missing: {mode!r} needs it"
        if mode == "put" and (options.get("path") is None) == (options.get("data_key") is None):
            yield "mode", "`put` needs either `path` or `data_key`"

    def writes(self) -> bool:
        return self.mode in WRITING or (self.mode == "get" and self.path is not None)

    def intention(self) -> str:
        return f"{self.mode} s3://{self.bucket}/{self.key}"

    def dry_result(self) -> Any:
        return {"bucket": self.bucket, "key": self.key, "bytes": 0}

    def run(self, ctx: Context) -> Any:
        from scflows.connectors.s3 import client, errors, reason

        if self.data_key is not None:
            ctx.peek(self.data_key)
        store = client(ctx.secret_fields(self.secret))
        try:
            return getattr(self, f"_{self.mode}")(ctx, store)
        except errors() as error:
            message, status = reason(error)
            raise StepError(f"{self.intention()}: {message}", status_code=status) from error

    def _get(self, ctx: Context, store: Any) -> Any:
        if self.path is not None:
            path = ctx.writable(self.path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            temporary = f"{path}.{os.getpid()}.part"
            try:
                store.download_file(self.bucket, self.key, temporary)
                size = os.path.getsize(temporary)
                os.replace(temporary, path)
            finally:
                if os.path.exists(temporary):
                    os.unlink(temporary)
            return {"bucket": self.bucket, "key": self.key, "bytes": size}
        content = store.get_object(Bucket=self.bucket, Key=self.key)["Body"].read(self.max_bytes + 1)
        if len(content) > self.max_bytes:
            raise StepError(
                f"{self.intention()}: the object is larger than {self.max_bytes} bytes (max_bytes); set `path`"
            )
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise StepError(f"{self.intention()}: the object is not text; set `path`") from error

    def _put(self, ctx: Context, store: Any) -> Any:
        if self.path is not None:
            path = ctx.readable(self.path)
            store.upload_file(path, self.bucket, self.key)
            size = os.path.getsize(path)
        else:
            from scflows.documents import json_bytes

            value = ctx.value(str(self.data_key))
            content = value.encode() if isinstance(value, str) else json_bytes(value)
            kind = "text/plain; charset=utf-8" if isinstance(value, str) else "application/json"
            store.put_object(Bucket=self.bucket, Key=self.key, Body=content, ContentType=kind)
            size = len(content)
        return {"bucket": self.bucket, "key": self.key, "bytes": size}

    def _list(self, ctx: Context, store: Any) -> Any:
        found: list[dict[str, Any]] = []
        for page in store.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key):
            for each in page.get("Contents", ()):
                changed = each["LastModified"].isoformat(timespec="seconds")
                found.append({"key": each["Key"], "bytes": each["Size"], "changed": changed})
            if len(found) > self.max_items:
                raise StepError(f"{self.intention()}: more than {self.max_items} objects (max_items)")
        return found

    def _exists(self, ctx: Context, store: Any) -> Any:
        from botocore.exceptions import ClientError

        try:
            store.head_object(Bucket=self.bucket, Key=self.key)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                return False
            raise
        return True

    def _delete(self, ctx: Context, store: Any) -> Any:
        existed = self._exists(ctx, store)
        store.delete_object(Bucket=self.bucket, Key=self.key)
        return existed
