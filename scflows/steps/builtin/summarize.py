"""Summarise collected posts: counts, edge lists, tables, a page, a package."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

#: The files in the order of the documentation; `scflows.integrations.social.summary` has their names.
WHAT = (
    "hashtags",
    "urls",
    "domains",
    "mentions",
    "followers",
    "follow_ratio",
    "reposts",
    "photos",
    "hashtag_edges",
    "mention_edges",
    "ids",
    "posts",
    "sample",
    "media",
    "info",
    "page",
    "archive",
)


@dataclass(frozen=True)
class SummarizeStep(Step):
    """Summarise collected posts: counts, edge lists, tables, a page, a package.

    `what` is one file, or a list of files that are made while the posts are read once; the result is
    `{posts: N, files: {WHAT: PATH}, rows: {WHAT: N}}`. `archive` packs what is in the folder, so it comes last.

    - name: hashtags
      type: summarize
      summarize: {path: "{{ fetch.posts }}", what: hashtags, folder: "{{ __run_folder__ }}"}
    - name: the rest
      type: summarize
      summarize: {path: "{{ fetch.posts }}", what: [urls, followers, page], folder: "{{ __run_folder__ }}"}
    """

    path: Any = option(template=True, help="a file of posts, or a list of such files, in DATA_PATH")
    what: Any = option(help="what to make, or a list: " + ", ".join(WHAT))
    folder: str = option(template=True, help="the folder for the files, in DATA_PATH")
    term: str = option("", template=True, help="the search term, for the page and summary.json")
    creator: str = option("", template=True, help="who searched, for the page")
    sample_size: int = option(10, minimum=1, help="number of posts in the sample")
    max_photos: int = option(5000, minimum=1, help="number of photos that `media` fetches, the most used first")
    public_only: bool = option(True, help="whether `media` asks only addresses of the public internet")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        names = _list_of(options.get("what"))
        if not names:
            yield "what", "'what' must name at least one file"
        for name in names:
            if name is not None and name not in WHAT:
                yield "what", f"unknown: {name!r}; use one or more of {', '.join(WHAT)}"
        path = options.get("path")
        if path is not None and not (isinstance(path, str) or (isinstance(path, list) and path)):
            yield "path", "'path' must be a path or a list of paths"

    def writes(self) -> bool:
        return True

    def _names(self) -> list[str]:
        return [name for name in WHAT if name in _list_of(self.what)]

    def intention(self) -> str:
        return f"make {', '.join(self._names())} in {self.folder}"

    def dry_result(self) -> Any:
        return {"posts": 0, "files": {}, "rows": {}}

    def run(self, ctx: Context) -> Any:
        from scflows.integrations.social.summary import Made, Order, summarize, write_archive

        paths = self.path if isinstance(self.path, list) else [self.path]
        sources = [(ctx.readable(str(path)), str(path)) for path in paths]
        order = Order(
            self._names(),
            sources,
            ctx.writable(self.folder),
            run=str(ctx.data.get("__job_id__", "")),
            term=self.term,
            creator=self.creator,
            finished=_now(),
            sample_size=self.sample_size,
            shown=self.folder,
            progress=lambda number: _show(ctx, number),
            note=ctx.add_file,
        )
        try:
            made = Made()
            if "media" in order.names:
                from scflows.integrations.social.media import TIMEOUT, MediaOptions, fetch_media

                how = MediaOptions(self.public_only, self.max_photos, lambda: ctx.call_timeout(TIMEOUT), ctx.masked)
                fetch_media(order, made, how, ctx.log)
            if set(order.names) - {"archive", "media"}:
                later = summarize(order)
                later.files, later.rows = {**made.files, **later.files}, {**made.rows, **later.rows}
                made = later
            if "archive" in order.names:
                from scflows.integrations.social.collection import CURSOR, RAW

                own = [os.path.join(order.folder, name) for name in (RAW, CURSOR)]
                write_archive(order, made, _archive_name(order.folder), [*own, *(path for path, _ in sources)])
        except OSError as error:
            raise StepError(f"{error.filename or self.folder}: {error.strerror or error}") from error
        self._warn(ctx, made)
        files = {name: os.path.join(self.folder, file) for name, file in made.files.items()}
        return {"posts": made.reading.posts, "files": files, "rows": made.rows}

    def _warn(self, ctx: Context, made: Any) -> None:
        reading = made.reading
        for place in reading.broken[:10]:
            ctx.log.warning(f"left out: {place}")
        if len(reading.broken) > 10:
            ctx.log.warning(f"left out: {len(reading.broken) - 10} more lines that are cut off or not JSON")
        if reading.repeated or reading.notices:
            ctx.log.info(f"left out: {reading.repeated} repeated posts, {reading.notices} lines that are not posts")


def _show(ctx: Context, number: int) -> None:
    """Show how many posts or photos are done, and let the step be interrupted."""
    ctx.sleep(0)
    ctx.progress(f"{number:,}")


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _archive_name(folder: str) -> str:
    return f"{os.path.basename(folder.rstrip('/'))}.zip"


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
