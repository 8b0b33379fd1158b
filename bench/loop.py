"""Whether a loop over a slow API keeps its threads busy, and what memory it takes.

A stand-in answers each call after 20 ms. `waiting` is what it sees: how many of max_parallel calls it holds on the
average from the first call to the last. The rest is the time that the threads work on their items, or wait for a core.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import PYTHON, arguments

QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
ANSWER_SECONDS = 0.02
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"value": 7}'
CHILD = """
steps:
  - {{name: row, type: rest, rest: {{uri: "http://127.0.0.1:{port}/{{{{ __input__ }}}}"}}}}
"""
PARENT = """
max_steps: 100
steps:
  - {{name: rows, type: jq, jq: {{expression: "[range({count})]"}}}}
  - {{name: loop, type: flow_loop, jq_expression: length,
     flow_loop: {{path: child.yml, data_key: rows, max_parallel: {parallel}}}}}
"""


async def serve(report: str) -> None:
    """Answer after a while; write into `report`: calls, seconds from the first to the last, mean calls at once."""
    calls, first, last, at_work = 0, 0.0, 0.0, 0.0

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls, first, last, at_work
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                begun = time.perf_counter()
                first = first or begun
                await asyncio.sleep(ANSWER_SECONDS)
                writer.write(ANSWER)
                await writer.drain()
                last = time.perf_counter()
                calls += 1
                at_work += last - begun
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        Path(report).write_text(f"{calls} {last - first} {at_work}")

    server = await asyncio.start_server(one, "127.0.0.1", 0, backlog=200)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def measure(count: int, parallel: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder) / "workspace" / "tasks"
        tasks.mkdir(parents=True)
        report = f"{folder}/report"
        stand_in = subprocess.Popen((PYTHON, __file__, "--serve", report), stdout=subprocess.PIPE, text=True)
        assert stand_in.stdout is not None
        try:
            port = stand_in.stdout.readline().strip()
            (tasks / "child.yml").write_text(CHILD.format(port=port))
            (tasks / "parent.yml").write_text(PARENT.format(count=count, parallel=parallel))
            environment = {
                "HOME": folder,
                "PATH": os.environ["PATH"],
                "XDG_STATE_HOME": f"{folder}/state",
                "XDG_CACHE_HOME": f"{folder}/cache",
                "LOG_LEVEL": "WARNING",
            }
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            begun = time.perf_counter()
            flow = ("run", "parent.yml", "--timeout", "1h")
            subprocess.run(
                (PYTHON, "-P", "-m", "scflows", *flow), cwd=tasks.parent, env=environment, check=True, **QUIET
            )
            took = time.perf_counter() - begun
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            time.sleep(0.5)
            calls, lasted, at_work = (float(each) for each in Path(report).read_text().split())
        finally:
            stand_in.kill()
            stand_in.wait()
            stand_in.stdout.close()
        ideal = count * ANSWER_SECONDS / parallel
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(
            f"{count:>6} items, {parallel:>2} side by side: {took:6.2f} s (ideal {ideal:6.2f} s), "
            f"waiting {at_work / lasted / parallel:4.0%}, CPU {cpu / count * 1000:5.2f} ms an item, "
            f"peak {after.ru_maxrss / 1024:5.1f} MiB, {calls:.0f} calls"
        )


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("items", metavar="ITEMS", nargs="*", type=int, help="100, 1,000, 10,000, if not given")
    parser.add_argument(
        "--parallel", metavar="N", type=int, default=8, help="max_parallel of the loop: 8, if not given"
    )
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        try:
            asyncio.run(serve(given.serve))
        except KeyboardInterrupt:
            sys.exit(130)
    for count in [] if given.serve else given.items or [100, 1000, 10000]:
        measure(count, given.parallel)
