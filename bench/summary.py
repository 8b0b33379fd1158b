"""What it costs to summarise many posts: time and peak memory for each number of posts.

All files but photos and the package, made in one step that reads the posts once, and in one step each.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from measure import PYTHON, counts

WHAT = (
    *("hashtags", "urls", "domains", "mentions", "followers", "follow_ratio", "reposts", "photos"),
    *("hashtag_edges", "mention_edges", "ids", "posts", "sample", "info", "page"),
)
SUMMARIZE = "- {{name: {}, type: summarize, summarize: {{path: posts.jsonl, what: {}, folder: out}}}}\n"


def posts(path: Path, number: int) -> None:
    """Write posts: a third of the authors, many hashtags used once, few used often."""
    chance = random.Random(7)
    words = ["air", "water", "noise", "station", "morning", "data", "open", "city", "sensor", "week"]
    with path.open("w") as file:
        for each in range(number):
            author = chance.randrange(max(1, number // 3))
            post = {
                "source": "x",
                "post_uri": f"x:{each}",
                "post_id": str(each),
                "created_at": f"2026-03-{each % 28 + 1:02}T{each % 24:02}:00:00Z",
                "author_id": str(author),
                "author_handle": f"user{author}",
                "author_followers": author % 5000,
                "author_following": author % 300,
                "text": " ".join(chance.choice(words) for _ in range(20)),
                "lang": "en",
                "hashtags": [f"tag{int(chance.paretovariate(0.7)) % 100_000}" for _ in range(each % 4)],
                "urls": [f"https://site{each % 900}.example/page/{each // 3}"] if each % 3 == 0 else [],
                "mentions": [f"user{chance.randrange(max(1, number // 3))}"] if each % 2 else [],
                "media": [f"https://pic.example/{each // 7}.jpg"] if each % 5 == 0 else [],
                "likes": each % 11,
                "reposts": each % 97,
                "replies": None,
                "quotes": None,
                "repost_of": None,
                "reply_to": None,
                "quote_of": None,
                "place": None,
                "lon": None,
                "lat": None,
                "sensitive": None,
                "client": None,
                "url": f"https://x.com/user{author}/status/{each}",
            }
            file.write(json.dumps(post) + "\n")


def main(numbers: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "workspace"
        for name in ("tasks", "data"):
            (home / name).mkdir(parents=True)
        environment = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "CRONTAB_PROGRAM": "none",
        }
        flows = {"one step": SUMMARIZE.format("all", f"[{', '.join(WHAT)}]")}
        flows["a step each"] = "".join(SUMMARIZE.format(name, name) for name in WHAT)
        for number in numbers:
            posts(home / "data" / "posts.jsonl", number)
            for name, steps in flows.items():
                (home / "tasks" / "flow.yml").write_text("steps:\n" + steps)
                began = time.monotonic()
                process = os.posix_spawn(
                    "/usr/bin/env",
                    ["env", "-C", str(home), PYTHON, "-P", "-m", "scflows", "run", "flow.yml"],
                    environment,
                    file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
                )
                _, status, usage = os.wait4(process, 0)
                if status:
                    sys.exit(f"{name} ended with {os.waitstatus_to_exitcode(status)}")
                seconds = time.monotonic() - began
                print(f"{number:>9,} posts, {name:<12} {seconds:6.1f} s {usage.ru_maxrss / 1024:5.0f} MiB", flush=True)


if __name__ == "__main__":
    main(counts(__doc__, 10_000, 100_000, 1_000_000))
