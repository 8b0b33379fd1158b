"""The summary page: one HTML file without scripts that opens offline; everything from posts is escaped."""

from __future__ import annotations

from html import escape

from scflows.integrations.social import counts
from scflows.integrations.social.post import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from scflows.integrations.social.post import Post

#: Bars of a chart at most.
BARS = 25
TOP_POSTS = 12
TOP_PHOTOS = 10
#: How many candidates for the most reposted are kept in memory.
CANDIDATES = 2000
#: Sizes of a chart, in its own units.
WIDTH, ROW, LABEL, NUMBER = 640, 22, 210, 70
MAX_LABEL = 30
STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --line: #e3e6ec; --back: #fff; --bar: #3b6fb6 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2c3340; --back: #14181f; --bar: #6c9be0 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 72rem; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere }
h2 { font-size: 1.05rem; margin: 0 0 .5rem }
p, ul { margin: 0 0 1rem }
.soft { color: var(--soft) }
.charts, .posts, .photos { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)) }
.photos { grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)) }
section { margin-top: 2.5rem }
.chart, .post, figure { border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin: 0; min-width: 0 }
.post { white-space: pre-wrap; overflow-wrap: anywhere }
.post p { margin: 0 0 .5rem }
figure img { max-width: 100%; border-radius: 4px; display: block }
svg { width: 100%; height: auto; display: block }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif }
svg .number { fill: var(--soft); font-variant-numeric: tabular-nums }
svg rect { fill: var(--bar) }
svg a:hover text { text-decoration: underline }
a { color: inherit }
ul.files { columns: 14rem; padding: 0; list-style: none; overflow-wrap: anywhere }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


class Page:
    """What the summary page shows, gathered from posts one by one."""

    def __init__(self, term: str, creator: str, finished: str, sample_size: int) -> None:
        self._term, self._creator, self._finished = clean(term), clean(creator), clean(finished)
        self._source = ""
        self._charts: list[tuple[str, str, counts.Counter]] = [
            ("Hashtags", "hashtag", counts.Values("hashtag", counts.hashtags)),
            ("Mentions", "mention", counts.Values("screen_name", counts.mentions)),
            ("Domains", "domain", counts.Values("domain", counts.domains)),
            ("Links", "url", counts.Values("url", counts.urls)),
            ("Followers", "mention", counts.Authors()),
            ("Followers per account followed", "mention", counts.Authors(ratio=True)),
        ]
        self._photos = counts.Media()
        self._sample = counts.Sample(sample_size)
        self._reposted: dict[str, tuple[int, Post]] = {}

    def add(self, post: Post) -> None:
        """Take a post into account."""
        self._source = self._source or post["source"]
        for _, _, counter in self._charts:
            counter.add(post)
        self._photos.add(post)
        self._sample.add(post)
        if post["reposts"]:
            key = post["repost_of"] or post["post_id"]
            if post["reposts"] > self._reposted.get(key, (0, post))[0]:
                self._reposted[key] = (post["reposts"], post)
            if len(self._reposted) > CANDIDATES:
                # A post that is dropped comes back if it is seen with a count that is high enough.
                self._reposted = dict(self._most_reposted())

    def _most_reposted(self) -> list[tuple[str, tuple[int, Post]]]:
        return sorted(self._reposted.items(), key=lambda each: -each[1][0])[:TOP_POSTS]

    def html(self, posts: int, files: Iterable[str], media: dict[str, Any]) -> str:
        """Return the page. `media`: what the step that fetched the photos wrote."""
        title = escape(self._term or "Harvest")
        by = f" · by {escape(self._creator)}" if self._creator else ""
        at = f", finished at {escape(self._finished)}" if self._finished else ""
        charts = "".join(self._chart(*each) for each in self._charts)
        parts = [
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="referrer" content="no-referrer"><style>{STYLE}</style></head><body>'
            f'<h1><bdi>{title}</bdi></h1><p class="soft">{posts:,} posts{at}{by}</p>'
            f'<section class="charts">{charts}</section>'
        ]
        top = [post for _, (_, post) in self._most_reposted()]
        parts.append(_posts("Most reposted", top))
        parts.append(self._commonest_photos(media))
        parts.append(_groups(media))
        parts.append(_posts("A sample", [post for _, post in sorted(self._sample.posts, key=lambda each: each[0])]))
        listed = "".join(f"<li>{_link('./' + _quoted(name), name, is_local=True)}</li>" for name in files)
        parts.append(f'<section><h2>Files</h2><ul class="files">{listed}</ul></section></body></html>\n')
        return "".join(parts)

    def _chart(self, title: str, kind: str, counter: counts.Counter) -> str:
        rows = list(counter.rows())[:BARS]
        if not rows:
            return f'<div class="chart"><h2>{escape(title)}</h2><p class="soft">none</p></div>'
        highest = max(value for _, value in rows) or 1
        space = WIDTH - LABEL - NUMBER
        bars = []
        for place, (name, value) in enumerate(rows):
            middle = place * ROW + ROW / 2
            label = name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…"
            number = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
            bar = (
                f"<title>{escape(name)}: {number}</title>"
                f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end" dominant-baseline="central" direction="ltr" '
                f'unicode-bidi="isolate">{escape(label)}</text>'
                f'<rect x="{LABEL}" y="{place * ROW + 4}" width="{max(1, space * value / highest):.1f}" '
                f'height="{ROW - 8}" rx="2"/><text class="number" x="{LABEL + space * value / highest + 6:.1f}" '
                f'y="{middle}" dominant-baseline="central">{number}</text>'
            )
            address = _address(kind, name, self._source)
            bars.append(
                f'<a href="{escape(address)}" rel="noopener noreferrer">{bar}</a>' if address else f"<g>{bar}</g>"
            )
        return (
            f'<div class="chart"><h2>{escape(title)}</h2><svg viewBox="0 0 {WIDTH} {len(rows) * ROW}" role="img" '
            f'aria-label="{escape(title)}">{"".join(bars)}</svg></div>'
        )

    def _commonest_photos(self, media: dict[str, Any]) -> str:
        rows = self._photos.rows()[:TOP_PHOTOS]
        if not rows:
            return ""
        known = {each.get("url"): each for each in _mappings(media.get("photos"))}
        shown = "".join(
            f"<figure>{_picture(known.get(url))}<figcaption>{_link(url, name or url)} "
            f'<span class="soft">{number:,}</span></figcaption></figure>'
            for url, name, number in rows
        )
        return f'<section><h2>Most used photos</h2><div class="photos">{shown}</div></section>'


def _groups(media: dict[str, Any]) -> str:
    known = {each.get("url"): each for each in _mappings(media.get("photos"))}
    parts = []
    for group in media.get("groups") or []:
        if isinstance(group, list) and len(group) > 1:
            pictures = "".join(
                f"<figure>{_picture(known.get(url))}{_link(str(url), str(url))}</figure>" for url in group
            )
            parts.append(f'<div class="photos">{pictures}</div>')
    return f"<section><h2>Photos that look alike</h2>{''.join(parts)}</section>" if parts else ""


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _picture(photo: dict[str, Any] | None) -> str:
    thumbnail = str((photo or {}).get("thumbnail") or "")
    # Base64 as it was written here, and nothing that could leave the attribute.
    if not thumbnail or not thumbnail.replace("+", "").replace("/", "").rstrip("=").isalnum():
        return ""
    return f'<img alt="" src="data:image/jpeg;base64,{thumbnail}">'


def _posts(title: str, posts: list[Post]) -> str:
    if not posts:
        return ""
    shown = []
    for post in posts:
        head = f"<bdi>{escape(post['author_handle'] or 'unknown')}</bdi> · {escape(post['created_at'] or '')}"
        link = _link(post["url"], "open") if post["url"] else ""
        numbers = "".join(
            f" · {post[name]:,} {name}" for name in ("reposts", "likes", "replies", "quotes") if post[name]
        )
        text = escape(post["text"] or "")
        shown.append(
            f'<div class="post"><p class="soft">{head}</p><p><bdi>{text}</bdi></p>'
            f'<p class="soft">{link}{numbers}</p></div>'
        )
    return f'<section><h2>{escape(title)}</h2><div class="posts">{"".join(shown)}</div></section>'


def _link(address: str, text: str, is_local: bool = False) -> str:
    shown = f"<bdi>{escape(text)}</bdi>"
    if is_local or address.lower().startswith(("http://", "https://")):
        return f'<a href="{escape(address)}" rel="noopener noreferrer">{shown}</a>'
    return shown


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name)


def _address(kind: str, name: str, source: str) -> str:
    """Return where a bar links to; empty if that is not known."""
    if kind == "url":
        return name if name.lower().startswith(("http://", "https://")) else ""
    quoted = _quoted(name)
    if kind == "domain":
        return f"https://{quoted}/"
    if source == "mastodon":
        user, _, server = name.partition("@")
        return f"https://{_quoted(server)}/@{_quoted(user)}" if kind == "mention" and server else ""
    base = "https://bsky.app" if source == "bluesky" else "https://x.com"
    if kind == "hashtag":
        return f"{base}/hashtag/{quoted}"
    return f"{base}/profile/{quoted}" if source == "bluesky" else f"{base}/{quoted}"
