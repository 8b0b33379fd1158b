"""Create the parts of a forwarding from its schema: both ends, the route, the table of names."""

from __future__ import annotations

import os

from scflows.errors import StepError, UsageError
from scflows.expressions.templates import Expressions
from scflows.integrations.forward.route import Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scflows.connectors.http.request import HttpRequest
    from scflows.integrations.forward.contract import Sink, Source
    from scflows.integrations.forward.end_spec import EndSpec
    from scflows.integrations.forward.lookup_table import Fetch, NameTable
    from scflows.integrations.forward.route import Shape
    from scflows.integrations.forward.schema import Schema
    from scflows.secrets.masking import Mask
    from scflows.secrets.secret import Secret
    from scflows.settings import Settings

#: The maximum size of a response with names, in bytes.
MAX_BYTES = 256 * 2**20
#: The list of devices in the Smart Citizen API.
DEVICES = "devices/?per_page=100&q[s]=id asc"


class Opener:
    """A factory for the parts of one forwarding. Each call may raise UsageError, StepError or MissingExtra."""

    def __init__(self, schema: Schema, settings: Settings, mask: Mask, log: Callable[[str], None]) -> None:
        from scflows.secrets.resolver import Secrets

        self._schema = schema
        self._settings = settings
        self._mask = mask
        self._log = log
        self._expressions = Expressions((settings.templates_path, schema.folder))
        self._secrets = Secrets(settings, mask, log, self._expressions.filter)

    def source(self, persistent: bool = True) -> Source:
        """Return the source; without `persistent` only for a preview."""
        spec = self._schema.source
        if spec.scheme == "mqtt":
            from scflows.integrations.forward.mqtt import MqttSource

            name = spec.client_of(self._schema.name, is_sink=False)
            end = self._mqtt(spec, name if persistent else f"{name}-preview-{os.getpid()}")
            return MqttSource(end, self._schema.topics, self._log, persistent)
        if spec.scheme == "kafka":
            from scflows.integrations.forward.kafka import KafkaSource

            group = spec.group or f"scflows-{self._schema.name}"
            settings = self._kafka(spec)
            return KafkaSource(
                settings, self._schema.topics, group if persistent else f"{group}-preview-{os.getpid()}", self._log
            )
        raise UsageError(f"from: {spec.url}: the source must be mqtt://, mqtts:// or kafka://")

    def sink(self, will: bytes) -> Sink:
        """Return the sink."""
        spec = self._schema.sink
        if spec.scheme == "mqtt":
            from scflows.integrations.forward.mqtt import MqttSink

            end = self._mqtt(spec, spec.client_of(self._schema.name, is_sink=True))
            return MqttSink(end, self._log, will, spec.qos)
        if spec.scheme == "kafka":
            from scflows.integrations.forward.kafka import KafkaSink

            return KafkaSink(self._kafka(spec), self._log)
        if spec.scheme in ("http", "staplus+http"):
            from scflows.integrations.forward.staplus import StaplusSink

            return StaplusSink(spec.url.removeprefix("staplus+"), self.secret(spec.secret), self._mask, self._log)
        raise UsageError(f"to: {spec.url}: the sink must be mqtt://, mqtts://, kafka:// or http(s)://")

    def table(self) -> NameTable | None:
        """Return the table of names, not read yet; None if the schema has none."""
        given = self._schema.names
        if given is None:
            return None
        from scflows.integrations.forward.lookup_table import NameTable, from_csv

        if given["type"] == "csv":
            fetch = from_csv(os.path.join(self._schema.folder, os.path.expanduser(given["path"])), given["key"])
        elif given["type"] == "platform":
            fetch = self._platform(given)
        else:
            fetch = self._rest(given)
        collect = (
            (given["collect"]["into"], given["collect"]["by"], given["collect"]["value"]) if "collect" in given else ()
        )
        return NameTable(given["key"], fetch, self._schema.refresh, self._log, collect)

    def route(self, table: NameTable | None) -> Route:
        """Return the route."""
        schema = self._schema
        unknown = (schema.names or {}).get("unknown") or ""
        return Route(schema.topics, schema.target, table, schema.tags, self._shape(), schema.sink.retain, unknown)

    def _shape(self) -> Shape | None:
        from scflows.integrations.forward import payload

        given = self._schema.payload
        if "observations" in given:
            from scflows.integrations.forward.staplus import observations

            return observations(given["observations"], payload.DECODERS[given.get("as", "kit")])
        if not given:
            return None
        decode = payload.DECODERS[given.get("as", "json")]
        if "template" in given:
            return payload.shape_by_template(given["template"], self._expressions, decode)
        return payload.shape_by_jq(given.get("jq", ".payload"), self._expressions, decode)

    def _mqtt(self, spec: EndSpec, client_id: str) -> Any:
        from scflows.connectors.mqtt import broker_of, library
        from scflows.integrations.forward.mqtt_connection import MqttEnd

        library()
        broker = broker_of(spec.url, self.secret(spec.secret), self._tls(spec))
        return MqttEnd(broker, client_id, spec.protocol, spec.keepalive, spec.status_topic)

    def _kafka(self, spec: EndSpec) -> dict[str, Any]:
        from scflows.connectors.kafka import settings_of

        return settings_of(spec.url, self.secret(spec.secret), self._tls(spec))

    def _tls(self, spec: EndSpec) -> dict[str, str] | None:
        if spec.tls is None:
            return None
        return {
            name: str(value) if name == "insecure" else os.path.join(self._schema.folder, os.path.expanduser(value))
            for name, value in spec.tls.items()
        }

    @property
    def folder(self) -> str:
        """Return the folder that relative paths start from."""
        return self._schema.folder

    def check_end(self, spec: EndSpec, secret: Secret | None) -> None:
        """Raise an error if an end would be refused, without connecting to it."""
        if spec.scheme == "mqtt":
            from scflows.connectors.mqtt import broker_of, new_client

            new_client(broker_of(spec.url, secret, self._tls(spec)), spec.client_id, spec.protocol)
        elif spec.scheme == "kafka":
            self._kafka(spec)
        elif secret is not None:
            from scflows.integrations.forward.staplus import authorization_of

            authorization_of(secret)

    def secret(self, name: str) -> Secret | None:
        """Return a secret, None without a name. Raises UsageError if it does not exist."""
        if not name:
            return None
        try:
            return self._secrets.find(name)
        except StepError as error:
            raise UsageError(str(error)) from error

    def _rest(self, given: Any) -> Fetch:
        from scflows.integrations.forward.lookup_table import from_rest
        from scflows.secrets.http_auth import header

        headers = {str(name): str(value) for name, value in (given.get("headers") or {}).items()}
        login = given.get("authentication")

        def fetch() -> list[dict[str, Any]]:
            authorization = header(login, self._secrets.find(login["secret"])) if login else None
            request = self._request(given["uri"], headers, authorization)
            return from_rest(request, given.get("paginate"), given["row"], self._expressions)()

        return fetch

    def _platform(self, given: Any) -> Fetch:
        from scflows.integrations.forward.lookup_table import PLATFORM_ROW, from_rest
        from scflows.integrations.smartcitizen.access import read_access

        read_access(self._settings)  # Report mistakes at the start.

        def fetch() -> list[dict[str, Any]]:
            # Read every time, because a token in a file or a secret may have changed.
            access = read_access(self._settings, self._secrets.remember)
            authorization = ("Authorization", f"Bearer {access.token}") if access.token else None
            request = self._request(access.api_url + DEVICES, {}, authorization)
            rows = from_rest(request, {"by": "link"}, given.get("row", PLATFORM_ROW), self._expressions)()
            if not rows and "row" not in given:
                reason = "has no access to the tokens" if access.token else "is not set"
                raise StepError(f"{access.api_url}: no device has a visible token: SC_BEARER {reason}")
            return rows

        return fetch

    def _request(self, uri: str, headers: dict[str, str], authorization: tuple[str, str] | None) -> HttpRequest:
        from scflows.connectors.http.request import HttpRequest

        return HttpRequest("GET", uri, headers, authorization, None, True, MAX_BYTES, lambda: 60.0, self._mask)
