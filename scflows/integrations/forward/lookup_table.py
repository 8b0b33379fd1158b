"""A table that maps names in topics to other values, refreshed regularly."""

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
    from scflows.expressions.templates import Expressions

    Row = dict[str, Any]
    Fetch = Callable[[], list[Row]]

#: The minimum of seconds between two refreshes because of an unknown name.
EARLIEST = 60.0
#: Seconds until another attempt after a failed refresh.
RETRY = 15.0
#: The fraction of its rows that a refreshed table must still have to be accepted.
MIN_FRACTION = 0.5
TAG_SEPARATORS = re.compile(r"[;,|\s]+")
#: The rows for the devices of the Smart Citizen platform, without devices whose token is hidden.
PLATFORM_ROW = (
    'select(.device_token != null and .device_token != "[FILTERED]") | {device_token, device_id: .id, name, '
    "uuid, owner: .owner.username, exposure: .location.exposure, city: .location.city, "
    "tags: ((.user_tags // []) + (.system_tags // []))}"
)


class NameTable:
    """A table indexed by one column. It stays usable during a refresh, and a failed refresh does not change it."""

    def __init__(
        self, key: str, fetch: Fetch, every: float, log: Callable[[str], None], collect: tuple[str, ...] = ()
    ) -> None:
        """Refresh every `every` seconds; `fetch` returns the rows and may block, because it runs in a thread.

        `collect` names three columns: rows with the same key are merged, and the first column becomes a mapping from
        their second column to their third.
        """
        self.key = key
        self.problem = "not read yet"
        self.read_at = 0.0  #: seconds since the epoch; 0 before the first time
        self._rows: dict[str, Row] = {}
        self._fetch = fetch
        self._every = every
        self._log = log
        self._collect = collect
        self._next = 0.0
        self._missing_since = 0.0
        self._thread: Thread | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def is_ready(self) -> bool:
        """Return True if it has been read."""
        return self.read_at > 0

    def row(self, key: str) -> Row | None:
        """Return the row of a key; a missing key causes a refresh soon."""
        row = self._rows.get(key)
        if row is None and self.is_ready:
            self._missing_since = self._missing_since or time.monotonic()
        return row

    def keep_fresh(self) -> None:
        """Start a refresh in the background if it is due. Never blocks."""
        now = time.monotonic()
        if self._thread is not None:
            if self._thread.is_alive():
                return
            self._thread = None
        if self._missing_since:
            self._next = min(self._next, max(self._missing_since, self._next - self._every + EARLIEST))
        if now >= self._next:
            self._thread = Thread(target=self.read, daemon=True)
            self._thread.start()

    def read(self) -> None:
        """Refresh now; `problem` holds the error."""
        try:
            found = self._read_rows()
        except Exception as error:  # No table or server may end the thread.
            self._failed(
                str(error) if isinstance(error, ScflowsError | OSError) else f"{type(error).__name__}: {error}"
            )
            return
        if self.problem or len(found) != len(self._rows):
            self._log(f"names: read {len(found)}")
        self._rows, self.problem, self.read_at = found, "", time.time()
        self._missing_since = 0.0
        self._next = time.monotonic() + self._every

    def _read_rows(self) -> dict[str, Row]:
        rows = self._fetch()
        found: dict[str, Row] = {}
        for row in rows:
            if row.get(self.key) not in (None, ""):
                self._add(found, str(row[self.key]), row)
        if rows and not found:
            raise StepError(f"no row has {self.key!r}; the columns are {', '.join(sorted(map(str, rows[0])))}")
        # With a truncated table, messages would be dropped as if that were intended.
        if not found:
            raise StepError("the table is empty")
        if len(found) < MIN_FRACTION * len(self._rows):
            raise StepError(
                f"only {len(found)} of {len(self._rows)} names are left, which looks like a mistake; if it is correct, "
                "restart the forwarding"
            )
        return found

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            consequence = "the old names are still used" if self.is_ready else "nothing is forwarded without them"
            self._log(f"names: {problem}; {consequence}")
        self.problem = problem
        self._next = time.monotonic() + min(RETRY, self._every)

    def _add(self, found: dict[str, Row], key: str, row: Row) -> None:
        if self._collect:
            into, by, value = self._collect
            pairs = found[key][into] if key in found else {}
            pairs[str(row.get(by))] = row.get(value)
            row = {**row, into: pairs}
        found[key] = row


def from_csv(path: str, key: str) -> Fetch:
    """Return a function that reads a CSV file with the column `key`.

    The column `tags` may contain several tags, separated by spaces, commas or semicolons.
    """

    def fetch() -> list[Row]:
        import csv

        try:
            with open(open_regular(path), encoding="utf-8-sig", newline="") as file:
                table = csv.DictReader(file, strict=True)
                header = list(table.fieldnames or ())
                if key not in header:
                    raise StepError(f"{path}: no column {key!r} in its header; it has {', '.join(header) or 'none'}")
                if len(set(header)) < len(header):
                    raise StepError(f"{path}: duplicate column in its header: {', '.join(header)}")
                rows: list[Row] = [{name: row[name] for name in header} for row in table]
        except OSError as error:
            raise StepError(f"{path}: cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise StepError(f"{path}: {error}") from error
        for row in rows:
            if "tags" in row:
                row["tags"] = [tag for tag in TAG_SEPARATORS.split(row["tags"] or "") if tag]
        return rows

    return fetch


def from_rest(request: HttpRequest, paginate: dict[str, Any] | None, row: str, expressions: Expressions) -> Fetch:
    """Return a function that reads all pages of an API; the jq expression `row` converts each item to a row."""
    expressions.check_filter(row)

    def fetch() -> list[Row]:
        from scflows.connectors.http.pagination import all_items

        if paginate:
            items = all_items(paginate, request.uri, [], request.fetch, expressions.filter)
        else:
            items = request.fetch(request.uri, []).value
        if not isinstance(items, list):
            raise StepError(f"{request.shown(request.uri)}: the response is not a list; select one with `items`")
        rows: list[Row] = expressions.filter(f"map({row})", items)
        wrong = next((each for each in rows if not isinstance(each, dict)), None)
        if wrong is not None:
            raise StepError(f"{request.shown(request.uri)}: `row` returns {wrong!r}, which is not a mapping")
        return rows

    return fetch
