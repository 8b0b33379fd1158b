"""A service desk, an automation server and a tracker, small enough to try the ticket flows on; in memory only.

    python tests/shipped/ticket_servers.py --port 8765

The three answer as Jira, AWX and GitLab do, as far as the flows ask. Under /control they say what was sent to
them, and fail when told to.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAMES = {
    "summary": "Summary",
    "status": "Status",
    "customfield_10010": "Request Type",
    "customfield_10020": "Host",
    "customfield_10030": "User",
}
TRANSITIONS = {"Start progress": "In progress", "Resolve": "Resolved", "Ask a person": "Waiting for support agent"}
TEMPLATES = {"42": "New server", "43": "Reset password"}
LOGINS = {
    "desk": ("Authorization", "Basic " + base64.b64encode(b"robot:desk-password").decode()),
    "automation": ("Authorization", "Bearer automation-token"),
    "tracker": ("PRIVATE-TOKEN", "tracker-key"),
}
#: The states of a started template, one for each look at it; the last one stays.
STATES = ("pending", "running", "successful")


def desk_ticket(number: int, kind: str, **fields: Any) -> dict[str, Any]:
    key = f"HELP-{number}"
    shown = {"summary": f"{kind}, please", "status": {"name": "Waiting for support"}, "customfield_10099": None}
    shown |= {"customfield_10010": {"requestType": {"name": kind}}}
    return {"key": key, "fields": shown | fields}


def tracker_issue(number: int, kind: str, text: str) -> dict[str, Any]:
    labels = ["automation", f"kind::{kind}"]
    return {"iid": number, "title": f"{kind}, please", "description": text, "state": "opened", "labels": labels}


@dataclass
class State:
    """All that the three services know."""

    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    issues: dict[str, dict[str, Any]] = field(default_factory=dict)
    works: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: list[str] = field(default_factory=lambda: list(STATES))
    seen: list[dict[str, Any]] = field(default_factory=list)  #: what was sent, in order
    failures: list[dict[str, Any]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def fill(self) -> None:
        for ticket in (
            desk_ticket(1, "New server", customfield_10020="web-7"),
            desk_ticket(2, "Reset password", customfield_10030="ada"),
            desk_ticket(3, "Order coffee"),
        ):
            self.tickets[ticket["key"]] = ticket
        for issue in (
            tracker_issue(11, "New server", "host: db-2"),
            tracker_issue(12, "Reset password", "user: grace\nplease be quick"),
        ):
            self.issues[str(issue["iid"])] = issue


Answer = tuple[int, Any, dict[str, str]]


class Services:
    """The three services and the controls; each call is a path, a method, a query and a body."""

    def __init__(self) -> None:
        self.state = State()
        self.state.fill()
        self.routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", r"/desk/rest/api/2/search", self.search),
            ("GET", r"/desk/rest/api/2/issue/([\w-]+)/transitions", self.transitions),
            ("POST", r"/desk/rest/api/2/issue/([\w-]+)/transitions", self.move),
            ("POST", r"/desk/rest/api/2/issue/([\w-]+)/comment", self.comment),
            ("POST", r"/automation/api/v2/job_templates/(\d+)/launch/", self.launch),
            ("GET", r"/automation/api/v2/jobs/(\d+)/", self.look),
            ("GET", r"/tracker/api/v4/projects/7/issues", self.issues),
            ("PUT", r"/tracker/api/v4/projects/7/issues/(\d+)", self.change),
            ("POST", r"/tracker/api/v4/projects/7/issues/(\d+)/notes", self.note),
            ("GET", r"/control/state", self.tell),
            ("POST", r"/control/states", self.set_states),
            ("POST", r"/control/fail", self.set_failure),
        ]

    def call(self, method: str, path: str, query: dict[str, str], body: Any, headers: Any) -> Answer:
        service = path.split("/")[1]
        with self.state.lock:
            if service in LOGINS:
                name, value = LOGINS[service]
                if headers.get(name) != value:
                    return 401, {"error": "who are you?"}, {}
                self.state.seen.append({"method": method, "path": path, "query": query, "body": body})
                for failure in self.state.failures:
                    if failure["left"] and failure["method"] == method and re.search(failure["path"], path):
                        failure["left"] -= 1
                        return failure["status"], {"error": "told to fail"}, {}
            for known, pattern, answer in self.routes:
                found = re.fullmatch(pattern, path)
                if found and known == method:
                    try:
                        return answer(*found.groups(), query=query, body=body)
                    except KeyError as error:
                        return 404, {"error": f"there is no {error}"}, {}
        return 404, {"error": f"{method} {path} is not known here"}, {}

    def search(self, query: dict[str, str], body: Any) -> Answer:
        wanted = re.findall(r'"([^"]+)"', query.get("jql", ""))
        found = [each for each in self.state.tickets.values() if each["fields"]["status"]["name"] in wanted]
        answer = {"startAt": 0, "maxResults": 50, "total": len(found), "issues": found}
        return 200, answer | ({"names": NAMES} if query.get("expand") == "names" else {}), {}

    def transitions(self, key: str, query: dict[str, str], body: Any) -> Answer:
        status = self.state.tickets[key]["fields"]["status"]["name"]
        offered = [(id, name, to) for id, (name, to) in enumerate(TRANSITIONS.items(), 1) if to != status]
        return 200, {"transitions": [{"id": str(id), "name": name, "to": {"name": to}} for id, name, to in offered]}, {}

    def move(self, key: str, query: dict[str, str], body: Any) -> Answer:
        to = list(TRANSITIONS.values())[int(body["transition"]["id"]) - 1]
        self.state.tickets[key]["fields"]["status"] = {"name": to}
        return 204, None, {}

    def comment(self, key: str, query: dict[str, str], body: Any) -> Answer:
        self.state.tickets[key].setdefault("comments", []).append(body["body"])
        return 201, {"id": "1"}, {}

    def launch(self, template: str, query: dict[str, str], body: Any) -> Answer:
        id = 100 + len(self.state.works)
        name = TEMPLATES[template]
        work = {"id": id, "name": name, "extra_vars": body.get("extra_vars", {}), "left": list(self.state.states)}
        self.state.works[str(id)] = work
        return 201, {"job": id, "id": id, "status": "pending", "name": name}, {}

    def look(self, id: str, query: dict[str, str], body: Any) -> Answer:
        work = self.state.works[id]
        work["status"] = work["left"].pop(0) if len(work["left"]) > 1 else work["left"][0]
        return 200, {"id": work["id"], "name": work["name"], "status": work["status"]}, {}

    def issues(self, query: dict[str, str], body: Any) -> Answer:
        labels = set(query.get("labels", "").split(","))
        found = [
            each
            for each in self.state.issues.values()
            if each["state"] == query.get("state", each["state"]) and labels <= set(each["labels"])
        ]
        page, size = int(query.get("page", 1)), int(query.get("per_page", 20))
        link = f'<{self.address}/tracker/api/v4/projects/7/issues?page={page + 1}&per_page={size}{{}}>; rel="next"'
        kept = "".join(f"&{name}={query[name]}" for name in ("labels", "state") if name in query)
        more = len(found) > page * size
        return 200, found[(page - 1) * size : page * size], {"link": link.format(kept)} if more else {}

    def change(self, id: str, query: dict[str, str], body: Any) -> Answer:
        issue = self.state.issues[id]
        added = [each for each in body.get("add_labels", "").split(",") if each]
        removed = body.get("remove_labels", "").split(",")
        issue["labels"] = [each for each in [*issue["labels"], *added] if each not in removed]
        issue["state"] = "closed" if body.get("state_event") == "close" else issue["state"]
        return 200, issue, {}

    def note(self, id: str, query: dict[str, str], body: Any) -> Answer:
        self.state.issues[id].setdefault("notes", []).append(body["body"])
        return 201, {"id": 1}, {}

    def tell(self, query: dict[str, str], body: Any) -> Answer:
        names = ("tickets", "issues", "works", "seen")
        return 200, {name: getattr(self.state, name) for name in names}, {}

    def set_states(self, query: dict[str, str], body: Any) -> Answer:
        self.state.states = list(body["states"])
        return 200, {}, {}

    def set_failure(self, query: dict[str, str], body: Any) -> Answer:
        self.state.failures.append({"status": 500, "left": 1, **body})
        return 200, {}, {}

    address = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    services: Services

    def answer(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        status, value, headers = self.services.call(self.command, parts.path, query, body, self.headers)
        content = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, said in headers.items():
            self.send_header(name, said)
        if value is not None:
            self.send_header("content-type", "application/json")
        if status != 204:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description="A service desk, an automation server and a tracker to try flows on.")
    parser.add_argument("--port", type=int, default=0, help="a free one unless given")
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Handler)
    server.daemon_threads = True
    Handler.services = Services()
    Handler.services.address = f"http://127.0.0.1:{server.server_port}"
    sys.stdout.write(f"{Handler.services.address}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
