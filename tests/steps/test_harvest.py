"""Harvests against stand-ins of the services, with limits, cuts, expired cursors and kills."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scflows.integrations.social import bluesky, mastodon, service, x
from scflows.integrations.social.demo import TOKEN, Faults, HarvestServer, Service, serving

pytestmark = pytest.mark.language("§10 harvest")

SECRETS = [
    {"name": "x", "type": "credential", "token": TOKEN},
    {"name": "bluesky", "type": "credential", "username": "me.example", "password": TOKEN},
    {"name": "wrong", "type": "credential", "token": "nonsense"},
]


@pytest.fixture
def stand_in(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HarvestServer]:
    monkeypatch.setattr(service, "PAUSES", (0.01,) * 6)
    (workspace / "data").mkdir()
    secrets = workspace / "data" / "secrets.yml"
    secrets.write_text(yaml.safe_dump(SECRETS))
    secrets.chmod(0o600)
    with serving(Service(300)) as server:
        yield server


def options(source: str, at: HarvestServer, **more: Any) -> dict[str, Any]:
    given = {"source": source, "server": at.url, "folder": "out", "term": "#air", "count": 250}
    if source != "mastodon":
        given["secret"] = source
    return {**given, **more}


def flow(given: dict[str, Any], **more: Any) -> str:
    return yaml.safe_dump({"steps": [{"name": "fetch", "type": "harvest", "harvest": given, **more}]})


def ids(folder: Path) -> list[str]:
    return [json.loads(line)["post_id"] for line in (folder / "posts.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("source", ["x", "mastodon", "bluesky"])
def test_each_service_gives_the_newest_posts_once(
    run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer, source: str
) -> None:
    run = run_flow(flow(options(source, stand_in)))
    assert run.status == "success", run.message
    folder = workspace / "data" / "out"
    assert ids(folder) == [str(number) for number in range(300, 50, -1)]
    assert run.result["fetch"] == {"posts": "out/posts.jsonl", "number": 250, "requested": 250, "folder": "out"}
    known = json.loads((folder / "provenance.json").read_text())
    assert (known["service"], known["term"], known["requested"], known["posts"]) == (source, "#air", 250, 250)
    raw = (folder / "raw.jsonl").read_bytes()
    assert known["sha256"]["raw.jsonl"] == hashlib.sha256(raw).hexdigest()
    assert len(raw.splitlines()) == known["pages"] == len(stand_in.service.requests)
    post = json.loads((folder / "posts.jsonl").read_text().splitlines()[0])
    assert post["hashtags"] == ["air"]
    assert (
        post["mentions"] == {"x": ["name6"], "mastodon": ["name6@other.example"], "bluesky": ["name6.example"]}[source]
    )
    assert post["created_at"] == "2026-03-03T06:06:40Z"


@pytest.mark.parametrize("source", ["x", "mastodon", "bluesky"])
@pytest.mark.parametrize(
    "faults", [Faults(cut_every=3), Faults(down_every=2), Faults(expire_at=2), Faults(limit_every=2, limit_seconds=1)]
)
def test_faults_of_a_service_lose_nothing(
    run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer, source: str, faults: Faults
) -> None:
    stand_in.service.faults = faults
    run = run_flow(flow(options(source, stand_in, count=120)))
    assert run.status == "success", run.message
    assert ids(workspace / "data" / "out") == [str(number) for number in range(300, 180, -1)]
    if faults.limit_every:
        assert json.loads((workspace / "data" / "out" / "provenance.json").read_text())["limits"]
        assert "the service's limit is reached; waiting until" in run.log


def test_a_limit_beyond_the_time_limit_ends_the_run_with_its_reason(
    run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer
) -> None:
    stand_in.service.faults = Faults(limit_every=2, limit_seconds=600)
    run = run_flow(flow(options("x", stand_in), timeout=30))
    assert (run.status, run.reason) == ("failed", "rate_limit")
    assert "it continues after 20" in run.message
    stand_in.service.faults, stand_in.service.limited_until = Faults(), 0.0
    run = run_flow(flow(options("x", stand_in), timeout=30))
    assert run.status == "success", run.message
    assert ids(workspace / "data" / "out") == [str(number) for number in range(300, 50, -1)]
    asked = Counter(request for request in stand_in.service.requests)
    assert sum(asked.values()) - len(asked) == 1  # the request that met the limit


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"secret": "wrong"}, "401: Unauthorized; the secret's `token` is not valid"),
        ({"path": "/nowhere"}, "404: not found; `server` or `path` is wrong"),
        ({"path": "/control/requests"}, "is `server` right?"),
        ({"source": "bluesky", "secret": "wrong"}, "bluesky needs a secret with `username`; 'wrong' has none"),
        ({"server": "http://127.0.0.1:9"}, "Connection refused"),
    ],
)
def test_a_refusal_says_what_is_meant(
    run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer, given: dict[str, Any], expected: str
) -> None:
    run = run_flow(flow({**options("x", stand_in), **given}))
    assert run.status == "failed"
    assert expected in run.message
    assert TOKEN not in run.message + run.log


def test_x_says_that_it_needs_a_token(run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer) -> None:
    (workspace / "data" / "secrets.yml").write_text("[]")
    given = options("x", stand_in)
    del given["secret"]
    run = run_flow(flow(given))
    assert "x needs a secret with `token`; x has none" in run.message.replace("'", "")


def test_bluesky_says_that_it_wants_a_login(
    run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer
) -> None:
    given = options("bluesky", stand_in)
    del given["secret"]
    (workspace / "data" / "secrets.yml").write_text("[]")
    run = run_flow(flow(given))
    assert "403: log in to search; the service wants a login" in run.message


def test_a_folder_belongs_to_one_search(run_flow: Callable[..., Any], stand_in: HarvestServer) -> None:
    assert run_flow(flow(options("x", stand_in, count=20))).status == "success"
    run = run_flow(flow(options("x", stand_in, count=20, term="other")))
    assert "out has the posts of another search (term differ); use another folder" in run.message


def test_more_posts_are_collected_after_what_is_there(
    run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer
) -> None:
    run_flow(flow(options("x", stand_in, count=100)))
    before = len(stand_in.service.requests)
    assert run_flow(flow(options("x", stand_in, count=100))).status == "success"
    assert len(stand_in.service.requests) == before
    assert run_flow(flow(options("x", stand_in, count=1000))).result["fetch"]["number"] == 300
    assert ids(workspace / "data" / "out") == [str(number) for number in range(300, 0, -1)]


def test_only_posts_within_the_times_are_kept(
    run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer
) -> None:
    given = options("mastodon", stand_in, since="2026-03-03T05:00:00Z", until="2026-03-03T06:00:00Z")
    run = run_flow(flow(given))
    assert run.status == "success", run.message
    assert ids(workspace / "data" / "out") == [str(number) for number in range(293, 233, -1)]
    assert len(stand_in.service.requests) < 5


def test_pseudonyms_leave_no_name(run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer) -> None:
    run = run_flow(flow(options("mastodon", stand_in, count=60, pseudonyms=True)))
    assert run.status == "success", run.message
    content = (workspace / "data" / "out" / "posts.jsonl").read_text()
    assert "@name" not in content
    assert "user1" not in content
    posts = [json.loads(line) for line in content.splitlines()]
    assert len({post["author_handle"] for post in posts}) == 13
    key = Path(run.outcome.run.log).parents[3]
    assert key.exists()


def test_archived_posts_are_read(run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer) -> None:
    tweets = [
        {"id_str": str(number), "text": "a", "user": {"screen_name": "b", "id_str": "1"}, "created_at": "x"}
        for number in range(5)
    ]
    (workspace / "data" / "old.jsonl").write_text("".join(json.dumps(each) + "\n" for each in [*tweets, tweets[0]]))
    for count, number in ((3, 3), (100, 5)):
        folder = f"out{count}"
        given = {"source": "archive", "path": "old.jsonl", "folder": folder, "count": count}
        run = run_flow(flow(given))
        assert run.status == "success", run.message
        assert run.result["fetch"]["number"] == number
        assert ids(workspace / "data" / folder) == [str(each) for each in range(number)]


def test_options_are_checked_before_the_run(mistakes: Callable[..., list[str]]) -> None:
    def found(**given: Any) -> str:
        return "\n".join(mistakes("harvest", {"folder": "a", **given}))

    assert "unknown source 'y'; use one of x, mastodon, bluesky, archive" in found(source="y", term="a")
    assert "'term' is missing" in found(source="x", term=" ")
    assert "'server' is missing" in found(source="mastodon", term="a")
    assert "'path' is missing" in found(source="archive")
    assert "'since' must be a time" in found(source="x", term="a", since="yesterday")
    assert "'count' must be a number of posts" in found(source="x", term="a", count=0)
    assert found(source="{{ params.source }}", count="{{ params.count }}") == ""


def test_four_harvests_at_the_same_time_do_not_disturb_each_other(
    workspace: Path, stand_in: HarvestServer, environment: dict[str, str]
) -> None:
    running = []
    for number, source in enumerate(("x", "mastodon", "bluesky", "x")):
        (workspace / "tasks" / f"h{number}.yml").write_text(
            flow(options(source, stand_in, folder=f"out{number}", count=100))
        )
        command = [sys.executable, "-P", "-m", "scflows", "run", f"h{number}.yml"]
        running.append(subprocess.Popen(command, cwd=workspace, env=environment, stdout=subprocess.DEVNULL))
    assert [each.wait(60) for each in running] == [0, 0, 0, 0]
    for number in range(4):
        assert ids(workspace / "data" / f"out{number}") == [str(each) for each in range(300, 200, -1)]


@pytest.mark.waits
def test_a_kill_at_any_moment_pays_for_at_most_one_page_twice(
    workspace: Path, stand_in: HarvestServer, environment: dict[str, str]
) -> None:
    stand_in.service.number = 3000
    (workspace / "tasks" / "h.yml").write_text(flow(options("mastodon", stand_in, count=2000)))
    command = [sys.executable, "-P", "-m", "scflows", "run", "h.yml"]
    kills = 0
    for moment in (0.35, 0.4, 0.45, 0.5, 0.55, 0.6):
        running = subprocess.Popen(
            command, cwd=workspace, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(moment)
        if running.poll() is None:
            os.killpg(running.pid, 9)
            kills += 1
        running.wait()
    subprocess.run(command, cwd=workspace, env=environment, stdout=subprocess.DEVNULL, check=True)
    assert ids(workspace / "data" / "out") == [str(number) for number in range(3000, 1000, -1)]
    asked = Counter(stand_in.service.requests)
    assert sum(asked.values()) - len(asked) <= kills


def test_a_page_that_was_received_before_a_kill_is_not_requested_again(
    run_flow: Callable[..., Any], workspace: Path, stand_in: HarvestServer
) -> None:
    run_flow(flow(options("x", stand_in, count=300)))
    folder = workspace / "data" / "out"
    known = json.loads((folder / "cursor.json").read_text())
    whole, pages = ids(folder), (folder / "raw.jsonl").read_bytes().splitlines(keepends=True)
    # As it is when the kill comes between the raw page and its posts.
    posts = b"".join(json.dumps(each).encode() + b"\n" for each in json.loads(pages[0])["posts"])
    known |= {"pages": 1, "posts": 100, "received": 100, "is_done": False, "raw_bytes": len(pages[0])}
    known |= {"posts_bytes": len(posts), "following": "p100", "seen": known["seen"][:1]}
    (folder / "posts.jsonl").write_bytes(posts + b'{"half": ')
    (folder / "raw.jsonl").write_bytes(pages[0] + pages[1])
    (folder / "cursor.json").write_text(json.dumps(known))
    stand_in.service.requests.clear()
    assert run_flow(flow(options("x", stand_in, count=300))).status == "success"
    assert ids(folder) == whole
    assert len(stand_in.service.requests) == 1
    assert "next_token=p200" in stand_in.service.requests[0]


def test_posts_of_x_have_what_their_includes_say() -> None:
    answer = {
        "data": [
            {
                "id": "5",
                "author_id": "1",
                "text": "RT @zoe: cut o…",
                "referenced_tweets": [{"type": "retweeted", "id": "4"}],
                "public_metrics": {"retweet_count": 3},
            },
            {
                "id": "6",
                "author_id": "1",
                "text": "see https://t.co/1",
                "created_at": "not a time",
                "attachments": {"media_keys": ["m1", "m2"]},
                "entities": {
                    "urls": [
                        {
                            "url": "https://t.co/1",
                            "expanded_url": "https://a.example",
                            "unwound_url": "https://b.example",
                        },
                        {
                            "url": "https://t.co/2",
                            "expanded_url": "https://x.com/i/status/6/photo/1",
                            "media_key": "m1",
                        },
                    ]
                },
            },
        ],
        "includes": {
            "users": [
                {"id": "1", "username": "ann", "public_metrics": {"followers_count": 0}},
                {"id": "2", "username": "zoe"},
            ],
            "tweets": [
                {"id": "4", "author_id": "2", "text": "cut off? no", "entities": {"hashtags": [{"tag": "whole"}]}}
            ],
            "media": [
                {"media_key": "m1", "type": "photo", "url": "https://p.example/1.jpg"},
                {"media_key": "m2", "type": "video"},
            ],
        },
        "errors": [{"detail": "one is gone"}],
    }
    first, second = x.posts_of(answer)
    assert (first["text"], first["hashtags"], first["repost_of"]) == ("RT @zoe: cut off? no", ["whole"], "4")
    assert (first["reposts"], first["author_followers"], first["author_following"]) == (3, 0, None)
    assert second["urls"] == ["https://b.example"]
    assert second["media"] == ["https://p.example/1.jpg"]
    assert second["created_at"] is None
    assert x.posts_of({"meta": {"result_count": 0}}) == []


def test_posts_of_mastodon_are_plain_text() -> None:
    status = {
        "id": "7",
        "uri": "https://m.example/7",
        "account": {"acct": "ann"},
        "content": '<p>one<br>two &amp; <a class="mention" href="https://m.example/@bob">@bob</a></p><p>'
        '<a href="https://a.example/?b&amp;c">link</a></p>',
        "tags": [{"name": "Air"}],
        "media_attachments": [{"type": "image", "url": "https://m.example/1.png"}, {"type": "video", "url": "v"}],
    }
    post = mastodon.post_of(status, "m.example")
    assert post["text"] == "one\ntwo & @bob\n\nlink"
    assert post["urls"] == ["https://a.example/?b&c"]
    assert (post["author_handle"], post["media"]) == ("ann@m.example", ["https://m.example/1.png"])
    assert post["reposts"] is None
    repost = mastodon.post_of(
        {"id": "8", "uri": "u", "account": {"acct": "bo@o.example"}, "content": "", "reblog": status}, "m"
    )
    assert (repost["repost_of"], repost["text"]) == ("7", post["text"])


def test_facets_of_bluesky_count_bytes() -> None:
    text = "é😀 @ann.example"
    start = len("é😀 ".encode())
    features = [{"$type": "app.bsky.richtext.facet#mention"}]
    view = {
        "uri": "at://did:plc:1/app.bsky.feed.post/abc",
        "author": {"did": "did:plc:1", "handle": "me.example"},
        "record": {
            "text": text,
            "tags": ["Outside"],
            "facets": [{"index": {"byteStart": start, "byteEnd": len(text.encode())}, "features": features}],
        },
        "embed": {
            "media": {"images": [{"fullsize": "https://p.example/1"}]},
            "record": {"record": {"uri": "at://quoted"}},
        },
    }
    post = bluesky.post_of(view, {"did:plc:1": {"followersCount": 5, "followsCount": 0}})
    assert (post["mentions"], post["hashtags"]) == (["ann.example"], ["Outside"])
    assert (post["media"], post["quote_of"], post["post_id"]) == (["https://p.example/1"], "at://quoted", "abc")
    assert (post["author_followers"], post["author_following"]) == (5, 0)
