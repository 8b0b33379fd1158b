"""A table of names: from what a topic says to what another broker wants; read again from time to time."""

from __future__ import annotations

import re
import time
from threading import Thread

from scflows.errors import ScflowsError, StepError
from scflows.storage import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scflows.connectors.http.request import HttpRequest
    from scflows.expressions import Expressions

    Row = dict[str, Any]
    Fetch = Callable[[], list[Row]]

#: Seconds between two looks that a name asks for which is not in the table.
EARLIEST = 60.0
#: Seconds until a source of names that failed is asked again.
RETRY = 15.0
#: What part of its names a table must still have to be believed.
SHRUNK = 0.5
TAG_ENDS = re.compile(r"[;,|\s]+")
#: What the Smart Citizen platform's devices are as rows; a device whose token may not be seen is left out.
PLATFORM_ROW = (
    'select(.device_token != null and .device_token != "[FILTERED]") | {device_token, device_id: .id, name, '
    "uuid, owner: .owner.username, exposure: .location.exposure, city: .location.city, "
    "tags: ((.user_tags // []) + (.system_tags // []))}"
)


class NameTable:
    """Rows by the value of one column. Reading goes on while it is read anew; a failed reading changes nothing."""

    def __init__(
        self, key: str, fetch: Fetch, every: float, tell: Callable[[str], None], collect: tuple[str, ...] = ()
    ) -> None:
        """`every` is in seconds; `fetch` gives the rows and may wait, it runs beside.

        `collect` names three columns: rows of one key become one, whose first column maps their second to their third.
        """
        self.key = key
        self.problem = "not read yet"
        self.read_at = 0.0  #: seconds since the epoch; 0 before the first time
        self._rows: dict[str, Row] = {}
        self._fetch = fetch
        self._every = every
        self._tell = tell
        self._collect = collect
        self._next = 0.0
        self._asked = 0.0
        self._reading: Thread | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def is_ready(self) -> bool:
        """Whether it was read once."""
        return self.read_at > 0

    def row(self, key: str) -> Row | None:
        """The row of a key; a missing one has the table read anew soon."""
        row = self._rows.get(key)
        if row is None and self.is_ready:
            self._asked = self._asked or time.monotonic()
        return row

    def keep_fresh(self) -> None:
        """Have the table read beside, if it is time for that. Never waits."""
        now = time.monotonic()
        if self._reading is not None:
            if self._reading.is_alive():
                return
            self._reading = None
        if self._asked:
            self._next = min(self._next, max(self._asked, self._next - self._every + EARLIEST))
        if now >= self._next:
            self._reading = Thread(target=self.read, daemon=True)
            self._reading.start()

    def read(self) -> None:
        """Read it now; `problem` says what went wrong."""
        try:
            found = self._found()
        except Exception as error:  # Whatever a table or a server holds: the thread that reads must not die of it.
            self._failed(
                str(error) if isinstance(error, ScflowsError | OSError) else f"{type(error).__name__}: {error}"
            )
            return
        if self.problem or len(found) != len(self._rows):
            self._tell(f"names: {len(found)} read")
        self._rows, self.problem, self.read_at = found, "", time.time()
        self._asked = 0.0
        self._next = time.monotonic() + self._every

    def _found(self) -> dict[str, Row]:
        rows = self._fetch()
        found: dict[str, Row] = {}
        for row in rows:
            if row.get(self.key) not in (None, ""):
                self._enter(found, str(row[self.key]), row)
        if rows and not found:
            raise StepError(f"no row has {self.key!r}; they have {', '.join(sorted(map(str, rows[0])))}")
        # With a table that was cut short all messages would be left out, as if that were wanted.
        if not found:
            raise StepError("the table is empty")
        if len(found) < SHRUNK * len(self._rows):
            raise StepError(
                f"only {len(found)} of {len(self._rows)} names are left, which looks like a mistake; if it is none, "
                "start the forwarding again"
            )
        return found

    def _failed(self, why: str) -> None:
        if why != self.problem:
            self._tell(f"names: {why}; {'the old ones hold' if self.is_ready else 'nothing is taken without them'}")
        self.problem = why
        self._next = time.monotonic() + min(RETRY, self._every)

    def _enter(self, found: dict[str, Row], key: str, row: Row) -> None:
        if self._collect:
            into, by, value = self._collect
            pairs = found[key][into] if key in found else {}
            pairs[str(row.get(by))] = row.get(value)
            row = {**row, into: pairs}
        found[key] = row


def from_csv(path: str, key: str) -> Fetch:
    """The rows of a CSV file whose header has the column `key`.

    The column `tags` holds several, with blanks, commas or semicolons.
    """

    def fetch() -> list[Row]:
        import csv

        try:
            with open(open_regular(path), encoding="utf-8-sig", newline="") as file:
                table = csv.DictReader(file, strict=True)
                header = list(table.fieldnames or ())
                if key not in header:
                    raise StepError(
                        f"{path}: no column {key!r} in its first line; it has {', '.join(header) or 'none'}"
                    )
                if len(set(header)) < len(header):
                    raise StepError(f"{path}: a column stands twice in its first line: {', '.join(header)}")
                rows: list[Row] = [{name: row[name] for name in header} for row in table]
        except OSError as error:
            raise StepError(f"{path}: cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise StepError(f"{path}: {error}") from error
        for row in rows:
            if "tags" in row:
                row["tags"] = [tag for tag in TAG_ENDS.split(row["tags"] or "") if tag]
        return rows

    return fetch


def from_rest(exchange: HttpRequest, paginate: dict[str, Any] | None, row: str, expressions: Expressions) -> Fetch:
    """The rows of an API's answer, of all its pages; `row` is a jq expression that makes one of each item."""
    expressions.check_filter(row)

    def fetch() -> list[Row]:
        from scflows.connectors.http.pagination import all_items

        if paginate:
            items = all_items(paginate, exchange.uri, [], exchange.fetch, expressions.filter)
        else:
            items, _ = exchange.fetch(exchange.uri, [])
        if not isinstance(items, list):
            raise StepError(
                f"{exchange.shown(exchange.uri)}: the answer is no list; say which part of it is with `items`"
            )
        rows: list[Row] = expressions.filter(f"map({row})", items)
        wrong = next((each for each in rows if not isinstance(each, dict)), None)
        if wrong is not None:
            raise StepError(f"{exchange.shown(exchange.uri)}: `row` gives {wrong!r}, which is no mapping")
        return rows

    return fetch
