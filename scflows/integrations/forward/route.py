"""What becomes of one message on its way: which names it has, where it goes, what it says."""

from __future__ import annotations

from scflows.errors import StepError
from scflows.integrations.forward.base import Dropped, Outgoing, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scflows.integrations.forward.base import Message
    from scflows.integrations.forward.lookup_table import NameTable
    from scflows.integrations.forward.topic import TopicTemplate

    #: Payload, topic and names to a new payload; None leaves the message out. May raise StepError.
    Shape = Callable[[bytes, str, Mapping[str, object]], bytes | None]

#: Why messages are left out, as counted.
NO_MATCH, UNKNOWN, FILTERED, EMPTY = "no such topic", "unknown name", "filtered", "empty"


class Route:
    """Makes of each message what is to be sent."""

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
        """`tags`: those of which a name must have one; `retain` None keeps what the message has; `unknown`: what the
        table does not know is refused with `keep`, and so kept beside; left out with `drop`; else it is told of, too.
        """
        self._sources = sources
        self._target = target
        self._table = table
        self._tags = tags
        self._shape = shape
        self._retain = retain
        self._unknown = unknown

    def outgoing(self, message: Message) -> Outgoing | Dropped | Refused:
        """The message as it is sent on, or why it is not."""
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
                return Dropped(UNKNOWN, is_odd=self._unknown != "drop")
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
        except Exception as error:  # Whatever a payload does: one that ends us would come again, and again.
            is_known = isinstance(error, ValueError | StepError)
            return Refused(str(error) if is_known else f"{type(error).__name__}: {error}")
        retain = message.retain if self._retain is None else self._retain
        return Outgoing(topic, payload, retain, message.properties)

    def shown(self, topic: str) -> str:
        """A topic that was taken or is sent to, without the tokens in it."""
        for template in (*self._sources, self._target):
            if template.match(topic) is not None:
                return template.shown(topic)
        return topic
