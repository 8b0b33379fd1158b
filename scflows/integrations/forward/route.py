"""The route of a message: its names, its target topic, its new payload."""

from __future__ import annotations

from scflows.errors import StepError
from scflows.integrations.forward.contract import Dropped, Message, Outgoing, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scflows.integrations.forward.lookup_table import NameTable
    from scflows.integrations.forward.topic import TopicTemplate

    #: Converts payload, topic and names to a new payload; None drops the message. May raise StepError.
    Shape = Callable[[bytes, str, Mapping[str, object]], bytes | None]

#: The reasons for dropping messages.
NO_MATCH, UNKNOWN, FILTERED, EMPTY = "no such topic", "unknown name", "filtered", "empty"


class Route:
    """The conversion of received messages to outgoing ones."""

    def __init__(
        self,
        sources: list[TopicTemplate],
        target: TopicTemplate,
        table: NameTable | None = None,
        tags: frozenset[str] = frozenset(),
        shape: Shape | None = None,
        retain: bool | None = None,
        unknown: str = "",
    ) -> None:
        """Create a route.

        - `tags`: if not empty, a row needs at least one of them
        - `retain`: None keeps the flag of the message
        - `unknown`: for names that are not in the table, `keep` sets the message aside, `drop` drops it; by default it
          is dropped with a warning
        """
        self._sources = sources
        self._target = target
        self._table = table
        self._tags = tags
        self._shape = shape
        self._retain = retain
        self._unknown = unknown

    def outgoing(self, message: Message) -> Outgoing | Dropped | Refused:
        """Return the outgoing message, or why there is none."""
        names: Mapping[str, object] | None = None
        for source in self._sources:
            names = source.match(message.topic)
            if names is not None:
                break
        if names is None:
            return Dropped(NO_MATCH)
        if self._table is not None:
            row = self._table.row(str(names.get(self._table.key, "")))
            if row is None:
                if self._unknown == "keep":
                    return Refused("its name is not in the table")
                return Dropped(UNKNOWN, is_unexpected=self._unknown != "drop")
            names = {**row, **names}
            if self._tags and self._tags.isdisjoint(row.get("tags") or ()):
                return Dropped(FILTERED)
        try:
            payload = message.payload
            if self._shape is not None:
                shaped = self._shape(payload, message.topic, names)
                if shaped is None:
                    return Dropped(EMPTY)
                payload = shaped
            topic = self._target.fill(names)
        except Exception as error:  # A payload that ended the process would be delivered again and again.
            is_known = isinstance(error, ValueError | StepError)
            return Refused(str(error) if is_known else f"{type(error).__name__}: {error}")
        retain = message.retain if self._retain is None else self._retain
        return Outgoing(topic, payload, retain, message.properties)

    def shown(self, topic: str) -> str:
        """Return a source or target topic without the tokens in it."""
        for template in (*self._sources, self._target):
            if template.match(topic) is not None:
                return template.shown(topic)
        return topic
