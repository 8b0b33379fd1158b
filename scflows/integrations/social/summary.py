"""The summary of a harvest: tables, edge lists, a page and a package, each in a file of its own.

Posts are read as a stream, once for all files that are made together.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, field

from scflows.errors import StepError
from scflows.integrations.social import counts, edges
from scflows.integrations.social.page import Page
from scflows.integrations.social.post import COLUMNS, clean
from scflows.integrations.social.reading import Reading, read_posts
from scflows.storage import replacing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack
    from typing import IO, Any

    from scflows.integrations.social.post import Post

#: The files by what they hold, in the order of the documentation.
FILES = {
    "hashtags": "count-hashtags.csv",
    "urls": "count-urls.csv",
    "domains": "count-domains.csv",
    "mentions": "count-mentions.csv",
    "followers": "count-followers.csv",
    "follow_ratio": "follow-ratio.csv",
    "reposts": "retweets.csv",
    "photos": "count-media.csv",
    "hashtag_edges": "edgelist-hashtags.csv",
    "mention_edges": "edgelist-mentions.csv",
    "ids": "tweet-ids.txt",
    "posts": "tweets.csv",
    "sample": "sample.csv",
    "media": "media.json",
    "info": "summary.json",
    "page": "index.html",
    "archive": "",
}
COUNTERS: dict[str, Callable[[], counts.Counter]] = {
    "hashtags": lambda: counts.Values("hashtag", counts.hashtags),
    "urls": lambda: counts.Values("url", counts.urls),
    "domains": lambda: counts.Values("domain", counts.domains),
    "mentions": lambda: counts.Values("screen_name", counts.mentions),
    "followers": counts.Authors,
    "follow_ratio": lambda: counts.Authors(ratio=True),
    "reposts": counts.Reposts,
    "photos": counts.Media,
}
EDGES = {
    "hashtag_edges": (("user", "hashtag"), edges.hashtag_edges),
    "mention_edges": (("from_user", "to_user"), edges.mention_edges),
}
#: A spreadsheet takes a cell that begins like this for a formula.
FORMULA = frozenset("=+-@\t\n")


@dataclass
class Order:
    """Which files are to be made, from which posts."""

    names: list[str]  #: of FILES
    sources: list[tuple[str, str]]  #: files with posts, each with its name for messages
    folder: str  #: where the files go
    run: str = ""
    term: str = ""
    creator: str = ""
    finished: str = ""  #: the time that page and summary.json show
    sample_size: int = 10
    shown: str = ""  #: the folder for messages
    progress: Callable[[int], None] = lambda number: None
    note: Callable[[str], None] = lambda path: None  #: called with the path of each file before it is written


@dataclass
class Made:
    """What was made."""

    files: dict[str, str] = field(default_factory=dict)  #: names of the files by what they hold
    rows: dict[str, int] = field(default_factory=dict)
    reading: Reading = field(default_factory=Reading)


def summarize(order: Order) -> Made:
    """Make the files of an order, but for the media and the archive. Raises StepError, OSError."""
    from contextlib import ExitStack

    made = Made()
    os.makedirs(order.folder, exist_ok=True)
    with ExitStack() as stack:
        takers, enders = _open_all(order, made, stack)
        for post in read_posts(order.sources, made.reading):
            for take in takers:
                take(post)
            if made.reading.posts % 1000 == 0:
                order.progress(made.reading.posts)
        for end in enders:
            end()
    return made


def _open_all(
    order: Order, made: Made, stack: ExitStack
) -> tuple[list[Callable[[Post], None]], list[Callable[[], None]]]:
    """Return what takes each post, and what ends the files."""
    takers: list[Callable[[Post], None]] = []
    enders: list[Callable[[], None]] = []
    for name in order.names:
        if name in COUNTERS or name == "sample":
            counter = COUNTERS[name]() if name in COUNTERS else counts.Sample(order.sample_size)
            takers.append(counter.add)
            enders.append(lambda name=name, counter=counter: _write_counter(order, made, name, counter))  # type: ignore[misc]
        elif name in EDGES:
            take, end = _edge_list(order, made, name, stack)
            takers.append(take)
            enders.append(end)
        elif name == "ids":
            takers.append(_ids(order, made, stack))
        elif name == "posts":
            takers.append(_posts(order, made, stack))
        elif name == "info":
            enders.append(lambda: _write_info(order, made))
        elif name == "page":
            page = Page(order.term, order.creator, order.finished, order.sample_size)
            takers.append(page.add)
            enders.append(lambda page=page: _write_page(order, made, page))  # type: ignore[misc]
    return takers, enders


class Table:
    """A CSV file (RFC 4180, UTF-8) that grows row by row."""

    def __init__(self, file: IO[bytes], header: Iterable[str]) -> None:
        self.rows = 0
        self._file = file
        self._buffer = io.StringIO()
        self._writer = csv.writer(self._buffer, lineterminator="\n")
        self._writer.writerow(header)

    def add(self, row: Iterable[Any]) -> None:
        """Add a row."""
        self._writer.writerow([cell(value) for value in row])
        self.rows += 1
        if self._buffer.tell() > 1 << 16:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory."""
        self._file.write(self._buffer.getvalue().encode())
        self._buffer.seek(0)
        self._buffer.truncate()


def cell(value: Any) -> Any:
    """Return a value for a cell of a CSV file: blank for what is unknown, text that no spreadsheet computes."""
    if isinstance(value, str):
        # OWASP, CSV Injection: an apostrophe has a spreadsheet take the cell as text.
        return f"'{value}" if value[:1] in FORMULA else value
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _path(order: Order, made: Made, name: str) -> str:
    made.files[name] = FILES[name]
    path = os.path.join(order.folder, FILES[name])
    order.note(path)
    return path


def _write_counter(order: Order, made: Made, name: str, counter: counts.Counter) -> None:
    with replacing(_path(order, made, name)) as file:
        table = Table(file, counter.header)
        for row in counter.rows():
            table.add(row)
        table.flush()
    made.rows[name] = table.rows


def _edge_list(
    order: Order, made: Made, name: str, stack: ExitStack
) -> tuple[Callable[[Post], None], Callable[[], None]]:
    header, edges_of = EDGES[name]
    path = _path(order, made, name)
    table = Table(stack.enter_context(replacing(path)), header)
    graph = edges.Graph("user", "hashtag" if name == "hashtag_edges" else "user")

    def take(post: Post) -> None:
        for edge in edges_of(post):
            table.add(edge)
            graph.add(*edge)

    def end() -> None:
        table.flush()
        made.rows[name] = table.rows
        graph_path = path.removesuffix(".csv") + ".gexf"
        order.note(graph_path)
        with replacing(graph_path) as file:
            for line in graph.lines():
                file.write(line.encode() + b"\n")

    return take, end


def _ids(order: Order, made: Made, stack: ExitStack) -> Callable[[Post], None]:
    file = stack.enter_context(replacing(_path(order, made, "ids")))
    made.rows["ids"] = 0

    def take(post: Post) -> None:
        file.write(f"{post['post_id'] or post['post_uri']}\n".encode())
        made.rows["ids"] += 1

    return take


def _posts(order: Order, made: Made, stack: ExitStack) -> Callable[[Post], None]:
    table = Table(stack.enter_context(replacing(_path(order, made, "posts"))), COLUMNS)
    stack_end = stack.push

    def take(post: Post) -> None:
        table.add(counts.row_of(post))

    def end(kind: Any, *rest: Any) -> None:
        if kind is None:
            table.flush()
            made.rows["posts"] = table.rows

    stack_end(end)
    return take


def _write_info(order: Order, made: Made) -> None:
    from scflows.documents import json_bytes
    from scflows.storage import replace

    content = {
        "id": order.run,
        "path": order.shown,
        "date": order.finished,
        "num_tweets": made.reading.posts,
        "term": clean(order.term),
    }
    replace(_path(order, made, "info"), json_bytes(content) + b"\n")


def _write_page(order: Order, made: Made, page: Page) -> None:
    from scflows.storage import replace

    folder = order.folder
    present = [name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name)) and name[0] != "."]
    listed = sorted({*present, *made.files.values()} - {FILES["page"]})
    replace(_path(order, made, "page"), page.html(made.reading.posts, listed, _media_of(folder)).encode())


def _media_of(folder: str) -> dict[str, Any]:
    """Return what the step that fetched the media wrote; nothing if there is none."""
    import json

    try:
        with open(os.path.join(folder, FILES["media"]), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_archive(order: Order, made: Made, name: str, left_out: Iterable[str]) -> None:
    """Write the package: every file of the folder but those left out and other packages. Raises OSError, StepError."""
    import stat
    import zipfile

    if not os.path.isdir(order.folder):
        raise StepError(f"{order.shown}: there is no such folder to pack")
    order.note(os.path.join(order.folder, name))
    skipped = {os.path.realpath(path) for path in left_out}
    number = 0
    with (
        replacing(os.path.join(order.folder, name)) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for folder, folders, names in os.walk(order.folder):
            folders[:] = sorted(
                each for each in folders if each[0] != "." and os.path.join(folder, each) not in skipped
            )
            for each in sorted(names):
                path = os.path.join(folder, each)
                if each[0] == "." or each.endswith(".zip") or os.path.realpath(path) in skipped:
                    continue
                if stat.S_ISREG(os.lstat(path).st_mode):
                    archive.write(path, os.path.join(os.path.splitext(name)[0], os.path.relpath(path, order.folder)))
                    number += 1
    made.files["archive"] = name
    made.rows["archive"] = number
