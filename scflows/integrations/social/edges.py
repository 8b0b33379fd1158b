"""Edge lists: who used which hashtag, who mentioned whom, as CSV and as GEXF."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflows.integrations.social.post import Post


class Graph:
    """A weighted graph between two kinds of nodes, for a GEXF file (version 1.3, https://gexf.net)."""

    def __init__(self, source: str, target: str) -> None:
        self._kinds = (source, target)
        self._nodes: dict[tuple[str, str], int] = {}
        self._edges: dict[tuple[int, int], int] = {}

    def add(self, source: str, target: str) -> None:
        """Add an edge, or one to its weight."""
        edge = (self._node(self._kinds[0], source), self._node(self._kinds[1], target))
        self._edges[edge] = self._edges.get(edge, 0) + 1

    def _node(self, kind: str, name: str) -> int:
        return self._nodes.setdefault((kind, name), len(self._nodes))

    def lines(self) -> Iterator[str]:
        """Yield the lines of the file."""
        from xml.sax.saxutils import quoteattr

        yield '<?xml version="1.0" encoding="UTF-8"?>'
        yield '<gexf xmlns="http://gexf.net/1.3" version="1.3">'
        yield '<graph mode="static" defaultedgetype="directed">'
        yield '<attributes class="node"><attribute id="kind" title="kind" type="string"/></attributes>'
        yield "<nodes>"
        for (kind, name), number in self._nodes.items():
            yield (
                f'<node id="{number}" label={quoteattr(name)}><attvalues>'
                f'<attvalue for="kind" value="{kind}"/></attvalues></node>'
            )
        yield "</nodes>"
        yield "<edges>"
        for number, ((source, target), weight) in enumerate(self._edges.items()):
            yield f'<edge id="{number}" source="{source}" target="{target}" weight="{weight}"/>'
        yield "</edges></graph></gexf>"


def hashtag_edges(post: Post) -> Iterator[tuple[str, str]]:
    """Yield an edge for each use of a hashtag: the user as written, the hashtag in lower case."""
    if post["author_handle"] is not None:
        for tag in post["hashtags"]:
            yield post["author_handle"], tag.lower()


def mention_edges(post: Post) -> Iterator[tuple[str, str]]:
    """Yield an edge for each mention, both names as written."""
    if post["author_handle"] is not None:
        for name in post["mentions"]:
            yield post["author_handle"], name
