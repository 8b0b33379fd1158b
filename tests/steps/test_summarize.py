"""The summary of posts: what is counted by hand is what the files say."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import threading
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scflows.integrations.social.post import COLUMNS, neutral

pytestmark = pytest.mark.language("§10 summarize")

WHOLE = [
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
    "info",
    "page",
]


def tweet(identity: str, user: str = "Ann", **more: Any) -> dict[str, Any]:
    """An archived post."""
    author = {
        "id_str": f"u-{user}",
        "screen_name": user,
        "followers_count": more.pop("followers", 10),
        "friends_count": more.pop("following", 4),
    }
    found = {
        "id_str": identity,
        "created_at": more.pop("created_at", "Tue Mar 03 10:00:00 +0000 2026"),
        "user": author,
        "text": more.pop("text", f"post {identity}"),
        "entities": {
            "hashtags": [{"text": each} for each in more.pop("tags", [])],
            "urls": [
                {"url": "https://t.co/x", **({"expanded_url": each} if each else {})} for each in more.pop("urls", [])
            ],
            "user_mentions": [{"screen_name": each} for each in more.pop("mentions", [])],
        },
        "retweet_count": more.pop("retweets", 0),
        "favorite_count": 0,
    }
    return {**found, **more}


@pytest.fixture
def summarize(
    perform: Callable[..., Any], data_folder: Path
) -> Callable[..., tuple[dict[str, Any], Callable[[str], list[list[str]]]]]:
    """Summarise lines; the result, and what reads the rows of a table without its header."""

    def run(lines: list[Any], what: Any = WHOLE, packed: bool = False, **options: Any) -> Any:
        text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
        content = text.encode("utf-8", "surrogatepass")
        (data_folder / "posts.jsonl").write_bytes(gzip.compress(content) if packed else content)
        result = perform("summarize", {"path": "posts.jsonl", "what": what, "folder": "out", **options})

        def rows(name: str) -> list[list[str]]:
            with open(data_folder / "out" / name, encoding="utf-8", newline="") as file:
                return list(csv.reader(file))[1:]

        return result, rows

    return run


def test_each_count_is_that_of_counting_by_hand(summarize: Callable[..., Any]) -> None:
    result, rows = summarize(
        [
            tweet("1", tags=["Air", "AIR", "straße"], urls=["https://Example.org/A", None], mentions=["Bob"]),
            tweet(
                "2",
                "Bob",
                tags=["air"],
                urls=["http://example.org:80/b"],
                mentions=["ann", "Ann"],
                followers=7,
                following=0,
            ),
            "",
            tweet("3", followers=30, following=4, created_at="Wed Mar 04 10:00:00 +0000 2026"),
            tweet("4", followers=5, created_at="Mon Mar 02 10:00:00 +0000 2026", urls=["mailto:a@b.example"]),
            {"delete": {"status": {"id_str": "1"}}},
            {"limit": {"track": 5}},
            tweet("1", tags=["Air"]),
            '{"id_str": "9", "user": {"id_',
        ],
        packed=True,
    )
    assert result["posts"] == 4
    assert rows("count-hashtags.csv") == [["air", "3"], ["straße", "1"]]
    assert rows("count-urls.csv") == [
        ["https://Example.org/A", "1"],
        ["https://t.co/x", "1"],
        ["http://example.org:80/b", "1"],
        ["mailto:a@b.example", "1"],
    ]
    assert rows("count-domains.csv") == [["example.org", "2"], ["t.co", "1"]]
    assert rows("count-mentions.csv") == [["ann", "2"], ["bob", "1"]]
    assert rows("count-followers.csv") == [["Ann", "30"], ["Bob", "7"]]
    assert rows("follow-ratio.csv") == [["Ann", "7.5"]]
    assert rows("edgelist-hashtags.csv") == [["Ann", "air"], ["Ann", "air"], ["Ann", "straße"], ["Bob", "air"]]
    assert rows("edgelist-mentions.csv") == [["Ann", "Bob"], ["Bob", "ann"], ["Bob", "Ann"]]


def test_a_repost_counts_for_its_original_with_the_highest_number(
    summarize: Callable[..., Any], data_folder: Path
) -> None:
    original = tweet("10", "Zoe", retweets=3, tags=["whole", "long"], text="the whole text", mentions=["Yan"])
    _, rows = summarize(
        [
            tweet(
                "11", text="RT @Zoe: the who…", retweets=5, retweeted_status=original, tags=["whole"], mentions=["Zoe"]
            ),
            tweet("12", text="RT @Zoe: the who…", retweets=9, retweeted_status={**original, "retweet_count": 9}),
            tweet("13", retweets=2, retweeted_status=None),
            tweet("14", retweets=0),
        ]
    )
    assert rows("retweets.csv") == [["10", "9"], ["13", "2"]]
    assert rows("count-hashtags.csv") == [["whole", "2"], ["long", "2"]]
    assert rows("count-mentions.csv") == [["yan", "2"], ["zoe", "1"]]
    assert rows("tweets.csv")[0][COLUMNS.index("text")] == "RT @Zoe: the whole text"


def test_long_texts_and_their_entities_take_precedence(summarize: Callable[..., Any]) -> None:
    photo = {"type": "photo", "media_url_https": "https://pic.example/m/one.jpg?name=large"}
    extended = {
        "full_text": "long text #b",
        "entities": {"hashtags": [{"text": "b"}], "media": [photo]},
        "extended_entities": {"media": [photo, {**photo, "media_url_https": "https://pic.example/two.png"}]},
    }
    video = {"type": "video", "media_url_https": "https://pic.example/v.jpg"}
    _, rows = summarize(
        [
            tweet("1", text="long te…", tags=["a"], extended_tweet=extended),
            tweet("2", full_text="full", extended_entities={"media": [photo, video]}),
        ]
    )
    assert rows("count-hashtags.csv") == [["b", "1"]]
    assert rows("count-media.csv") == [
        ["https://pic.example/m/one.jpg?name=large", "one.jpg", "2"],
        ["https://pic.example/two.png", "two.png", "1"],
    ]
    texts = [row[COLUMNS.index("text")] for row in rows("tweets.csv")]
    assert texts == ["long text #b", "full"]


HOSTILE = (
    "<script>alert(1)</script> =cmd|' /C calc'!A0 \x1b[31m \u202etxt\u202c \ud800 \x00 \"quoted\", line\r\nbreak 🌍"
)


class Tags(HTMLParser):
    """The tags and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.addresses |= {value or "" for name, value in attrs if name in ("href", "src")}


def test_hostile_posts_leave_nothing_but_text(summarize: Callable[..., Any], data_folder: Path) -> None:
    _, rows = summarize(
        [
            tweet("1", text="=" + HOSTILE, tags=["<b>&", "=1+1", "ok"], mentions=["@x"], urls=["javascript:alert(1)"]),
            tweet("2", '"><img src=x>', text=HOSTILE),
        ],
        term=HOSTILE,
        creator="<i>me</i>",
    )
    texts = [row[COLUMNS.index("text")] for row in rows("tweets.csv")]
    assert texts[0].startswith("'=<script>")
    assert "line\nbreak 🌍" in texts[1]
    content = (data_folder / "out" / "tweets.csv").read_bytes().decode()
    assert "\x1b" not in content + texts[0]
    assert "\x00" not in content
    assert ["'=1+1", "1"] in rows("count-hashtags.csv")
    graph = ET.parse(data_folder / "out" / "edgelist-hashtags.gexf").getroot()
    labels = {node.get("label") for node in graph.iter("{http://gexf.net/1.3}node")}
    assert labels == {"Ann", "<b>&", "=1+1", "ok"}
    page = (data_folder / "out" / "index.html").read_text(encoding="utf-8")
    seen = Tags()
    seen.feed(page)
    assert not seen.tags & {"script", "img", "i", "b", "iframe", "form", "object"}
    assert not [address for address in seen.addresses if address.lower().startswith(("javascript", "data"))]
    assert json.loads((data_folder / "out" / "summary.json").read_text())["num_tweets"] == 2


def test_a_sample_is_of_different_posts_and_of_those_there_are(summarize: Callable[..., Any]) -> None:
    posts = [tweet(str(number)) for number in range(50)]
    for size, expected in ((10, 10), (80, 50)):
        _, rows = summarize(posts, what="sample", sample_size=size)
        ids = [row[COLUMNS.index("post_id")] for row in rows("sample.csv")]
        assert len(set(ids)) == len(ids) == expected
        assert ids == sorted(ids, key=int)


def test_a_package_holds_every_file_but_the_raw_posts(
    perform: Callable[..., Any], data_folder: Path, summarize: Callable[..., Any]
) -> None:
    summarize([tweet("1", tags=["a"])])
    (data_folder / "out" / "raw.jsonl").write_text("{}")
    options = {"path": "out/raw.jsonl", "what": "archive", "folder": "out"}
    for _ in range(2):
        result = perform("summarize", options)
        with zipfile.ZipFile(data_folder / "out" / "out.zip") as archive:
            names = archive.namelist()
        assert "out/count-hashtags.csv" in names
        assert "out/index.html" in names
        assert not [name for name in names if name.endswith((".zip", "raw.jsonl", "cursor.json"))]
        assert result["rows"]["archive"] == len(names)


def test_nothing_half_written_is_left_behind(perform: Callable[..., Any], data_folder: Path) -> None:
    from scflows.errors import StepError

    (data_folder / "posts.jsonl").write_text(json.dumps(tweet("1")) + "\n")
    (data_folder / "out").mkdir()
    (data_folder / "out" / "count-hashtags.csv").mkdir()
    with pytest.raises(StepError, match=r"count-hashtags.csv"):
        perform("summarize", {"path": "posts.jsonl", "what": ["hashtags", "posts"], "folder": "out"})
    assert [name for name in os.listdir(data_folder / "out") if name.endswith(".tmp")] == []


def test_a_missing_file_is_named(perform: Callable[..., Any], data_folder: Path) -> None:
    from scflows.errors import StepError

    with pytest.raises(StepError, match=r"gone.jsonl: No such file"):
        perform("summarize", {"path": "gone.jsonl", "what": "ids", "folder": "out"})


def test_options_are_checked_before_the_run(mistakes: Callable[..., list[str]]) -> None:
    assert "unknown: 'tags'" in mistakes("summarize", {"path": "a", "folder": "b", "what": ["ids", "tags"]})[0]
    assert mistakes("summarize", {"path": 5, "folder": "b", "what": []}) == [
        "what: 'what' must name at least one file",
        "path: 'path' must be a path or a list of paths",
    ]


class Server:
    """An HTTP server with fixed answers, which notes what it was asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes, str]] = {}
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                status, content, kind = outer.answers.get(self.path, (404, b"", "text/plain"))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def http() -> Iterator[Server]:
    found = Server()
    yield found
    found.server.shutdown()
    found.server.server_close()


def picture(color: tuple[int, int, int], size: int = 64, kind: str = "PNG") -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (size, size), color)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size // 2, size // 3), fill=(255 - color[0], 255, 0))
    draw.ellipse((size // 2, size // 2, size - 1, size - 1), fill=(0, color[1], 255))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_photos_are_fetched_once_and_grouped(
    perform: Callable[..., Any], data_folder: Path, http: Server, summarize: Callable[..., Any]
) -> None:
    first = picture((10, 80, 20))
    http.answers["/a.png"] = (200, first, "image/png")
    http.answers["/b.jpg"] = (200, picture((10, 80, 20), 128, "JPEG"), "image/jpeg")
    http.answers["/c.png"] = (200, b"<html>no picture</html>", "text/html")
    posts = [
        neutral({"source": "x", "post_uri": f"x:{number}", "media": [f"{http.url}/{name}"], "author_handle": "a"})
        for number, name in enumerate(["a.png", "a.png", "b.jpg", "c.png", "gone.png"])
    ]
    options = {"what": ["media", "page"], "public_only": False}
    result, _ = summarize(posts, **options)
    found = json.loads((data_folder / "out" / "media.json").read_text())
    assert (found["photos"][0]["name"], found["photos"][0]["count"]) == ("a.png", 2)
    assert found["groups"] == [[f"{http.url}/a.png", f"{http.url}/b.jpg"]]
    errors = {each["name"]: each["error"] for each in found["photos"] if each.get("error")}
    assert errors["gone.png"] == "HTTP 404"
    assert "not a picture" in errors["c.png"]
    assert (data_folder / "out" / found["photos"][0]["file"]).read_bytes() == first
    assert result["rows"]["media"] == 2
    assert "data:image/jpeg;base64," in (data_folder / "out" / "index.html").read_text()
    summarize(posts, **options)
    assert http.paths.count("/a.png") == 1


def test_a_photo_on_a_private_address_is_not_fetched(
    data_folder: Path, http: Server, summarize: Callable[..., Any]
) -> None:
    http.answers["/a.png"] = (200, picture((1, 2, 3)), "image/png")
    posts = [neutral({"source": "x", "post_uri": "x:1", "media": [f"{http.url}/a.png"], "author_handle": "a"})]
    summarize(posts, what="media")
    found = json.loads((data_folder / "out" / "media.json").read_text())
    assert found["photos"][0]["error"] == "not an address of the public internet"
    assert http.paths == []
