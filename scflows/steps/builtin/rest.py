"""Call an HTTP API."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from scflows.connectors.http.request import HttpRequest, Page

#: Allowed characters in the names of headers, besides letters and digits (RFC 9110, 5.6.2).
HEADER_SIGNS = "!#$%&'*+-.^_`|~"


#: The beginnings of addresses that can be called.
SCHEMES = ("http://", "https://")


@dataclass(frozen=True)
class RestStep(Step):
    """Call an HTTP API. The result is the JSON of the response, its text if it is not JSON, null without a body.

    A status other than 2xx is an error with `status_code` and `response_content`. Secrets are sent only to the server
    of `uri`, never to other servers that redirects or next pages point to.

    - name: readings
      type: rest
      rest:
        uri: "https://api.example.org/readings?tag={{ __input__.tag }}"
        query: {limit: 100, fields: [temp, hum]}
    - name: send readings
      type: rest
      rest:
        uri: "https://api.example.org/reports"
        method: post
        data_key: readings
        authentication: {type: token, secret: portal}
    - name: rows
      type: rest
      rest:
        uri: "https://api.example.org/rows"
        headers: {X-Auth: "{{ secret('portal').token }}"}
        paginate: {by: cursor, param: cursor, next: ".next", items: ".rows"}
    """

    uri: str = option(template=True, secrets=True)
    method: str = option("GET", choices=("GET", "POST", "PUT", "PATCH", "DELETE"), any_case=True)
    query: dict[str, Any] | None = option(
        None, template=True, secrets=True, help="query parameters, added to those of `uri`"
    )
    headers: dict[str, Any] | None = option(None, template=True, secrets=True)
    body: dict[str, Any] | list[Any] | None = option(None, help="sent as JSON, exactly as written")
    data_key: str | None = option(None, help="the key of the body; takes precedence over `body`")
    authentication: dict[str, Any] | None = option(
        None, help="{type: basic, token or api-key, secret: NAME, bearer: the prefix of the token}"
    )
    verify: bool | str = option(True, help="false, or a file in DATA_PATH with trusted certificates")
    paginate: dict[str, Any] | None = option(
        None, help="{by: link, page, offset or cursor, param, next, items, end_status, max_pages}"
    )
    max_bytes: int = option(64 * 1024 * 1024, minimum=1, help="maximum size of a response")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        uri = options["uri"].strip()
        if not _may_be_http(uri.lower()):
            yield "uri", f"uri must begin with http:// or https://, not {uri[:40]!r}"
        for name, value in (options.get("headers") or {}).items():
            if not name or not all(
                letter in HEADER_SIGNS or (letter.isascii() and letter.isalnum()) for letter in name
            ):
                yield "headers", f"{name!r} is not a valid header name"
            if isinstance(value, list | dict):
                yield "headers", f"header {name!r} must be text, a number, true or false"
        for name, value in (options.get("query") or {}).items():
            items = value if isinstance(value, list) else [value]
            if any(isinstance(item, list | dict) for item in items):
                yield "query", f"parameter {name!r} must be text, a number, true, false or a list of those"
        if options.get("authentication") is not None:
            from scflows.secrets import http_auth

            for message in http_auth.mistakes_of(options["authentication"]):
                yield "authentication", f"authentication: {message}"
        if options.get("verify") == "":
            yield "verify", "'verify' must be true, false or the path of a file"
        if options.get("paginate") is not None:
            from scflows.connectors.http import pagination
            from scflows.expressions.jq import check_program

            for message in pagination.mistakes_of(options["paginate"], check_program):
                yield "paginate", f"paginate: {message}"

    def writes(self) -> bool:
        return self.method.upper() != "GET"

    def intention(self) -> str:
        from scflows.connectors.http.request import shown

        return f"send {self.method.upper()} {shown(self.uri)}"

    def run(self, ctx: Context) -> Any:
        request = self._request(ctx)
        parameters = list(self._parameters())
        if self.paginate is None:
            return request.fetch(request.uri, parameters).value
        from scflows.connectors.http.pagination import all_items

        def page(uri: str, parameters: list[tuple[str, str]]) -> Page:
            found: Page = ctx.with_retry(lambda: request.fetch(uri, parameters))
            return found

        return all_items(self.paginate, request.uri, parameters, page, ctx.expressions.filter)

    def _request(self, ctx: Context) -> HttpRequest:
        from scflows.connectors.http.request import HttpRequest

        if "@" in self.uri:
            ctx.secrets.remember_login(self.uri)

        login = None
        if self.authentication is not None:
            from scflows.secrets.http_auth import header

            login = header(self.authentication, ctx.secret(self.authentication["secret"]))
        if self.verify is False:
            ctx.log.warning("the server's certificate is not verified (verify: false)")
        return HttpRequest(
            method=self.method.upper(),
            # A block of YAML text (`uri: >`) ends with a line break.
            uri=self.uri.strip(),
            headers={name: _text(value) for name, value in (self.headers or {}).items() if value is not None},
            authorization=login,
            body=self._body(ctx),
            verify=self._trusted(ctx),
            max_bytes=self.max_bytes,
            remaining=ctx.remaining,
            mask=ctx.log.mask,
            warn=ctx.log.warning,
        )

    def _trusted(self, ctx: Context) -> bool | str:
        import os

        if isinstance(self.verify, bool):
            return self.verify
        path = ctx.readable(self.verify)
        if not os.path.isfile(path):
            raise StepError(f"verify: file {self.verify!r} not found")
        return path

    def _body(self, ctx: Context) -> bytes | None:
        from scflows import documents

        method = self.method.upper()
        if method == "GET" or (method == "DELETE" and self.body is None and self.data_key is None):
            return None
        value = ctx.peek(self.data_key) if self.data_key is not None else self.body
        if value is None and self.data_key is None:
            value = {}
        if not isinstance(value, dict | list):
            raise StepError(f"the body must be a mapping or a list; parse {self.data_key!r} first")
        return documents.json_bytes(value)

    def _parameters(self) -> Iterator[tuple[str, str]]:
        for name, value in (self.query or {}).items():
            for item in value if isinstance(value, list) else [value]:
                if item is not None:
                    yield name, _text(item)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _may_be_http(uri: str) -> bool:
    """Return whether an address, perhaps a template, may begin with one of the schemes."""
    written, brace, _ = uri.partition("{")
    return any(written.startswith(scheme) or (brace and scheme.startswith(written)) for scheme in SCHEMES)
