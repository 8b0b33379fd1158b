"""`rest` with logins, certificates and pages, against real servers: sections 4 and 10."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scflows.errors import StepError

pytestmark = pytest.mark.language("§4 rest")

SECRETS = """
- {name: desk, username: anna, password: "ñ:ö sesame"}
- {name: portal, type: token, token: t0ken-value}
- {name: lines, type: token, token: "two-lines\\nof-a-token"}
- {name: weather, type: api-key, key: X-Auth, value: k3y-value}
- {name: older, type: api_key, key: X-Auth, value: k3y-value}
"""


def started(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    script = Path(__file__).with_name("http_server.py")
    process = subprocess.Popen([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process, port = started()
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate authority, `ca.pem`, and what it has signed for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n")
    new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    usage = "-addext keyUsage=critical,keyCertSign"
    for command in (
        f"{new} -x509 -days 2 -subj /CN=tests -keyout ca.key -out ca.pem {usage}",
        f"{new} -subj /CN=127.0.0.1 -keyout own.key -out own.csr",
        "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -days 2 -extfile names -out own.pem -CAcreateserial",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def secure_server(certificates: Path) -> Iterator[str]:
    process, port = started(str(certificates / "own.pem"), str(certificates / "own.key"))
    yield f"https://127.0.0.1:{port}"
    process.kill()
    process.communicate()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def call(perform: Callable[..., Any], server: str, data_folder: Path) -> Callable[..., Any]:
    path = data_folder / "secrets.yml"
    path.touch(mode=0o600)
    path.write_text(SECRETS, encoding="utf-8")

    def run(path: str, data: dict[str, Any] | None = None, **options: Any) -> Any:
        return perform("rest", {"uri": server + path, **options}, data)

    return run


@pytest.mark.parametrize(
    ("authentication", "header", "value"),
    [
        ({"type": "basic", "secret": "desk"}, "Authorization", "Basic YW5uYTrDsTrDtiBzZXNhbWU="),
        ({"type": "token", "secret": "portal"}, "Authorization", "Bearer t0ken-value"),
        ({"type": "token", "secret": "portal", "bearer": "Token"}, "Authorization", "Token t0ken-value"),
        ({"type": "token", "secret": "portal", "bearer": ""}, "Authorization", "t0ken-value"),
        ({"type": "api-key", "secret": "weather"}, "X-Auth", "k3y-value"),
        ({"type": "api_key", "secret": "older"}, "X-Auth", "k3y-value"),
    ],
)
def test_a_login_goes_into_its_header(call, authentication, header, value):
    seen = call("/echo", headers={"authorization": "old"}, authentication=authentication)
    assert seen["headers"][header] == value


@pytest.mark.parametrize(
    ("kind", "secret", "told"),
    [
        ("basic", "portal", "'basic' needs a secret of type credential; 'portal' is a token without username"),
        ("token", "desk", "'token' needs a secret of type token; 'desk' is a credential"),
        ("api-key", "portal", "'api-key' needs a secret of type api-key; 'portal' is a token"),
        ("token", "porta", "secret 'porta' not found; did you mean 'portal'?"),
    ],
)
def test_a_secret_of_the_wrong_kind_is_a_step_error(call, kind, secret, told):
    with pytest.raises(StepError) as caught:
        call("/echo", authentication={"type": kind, "secret": secret})
    assert str(caught.value).startswith(told)


def test_a_token_that_no_header_can_hold_is_not_shown(call):
    with pytest.raises(StepError) as caught:
        call("/echo", authentication={"type": "token", "secret": "lines"})
    assert str(caught.value).endswith("/echo: the header 'Authorization' may not have line ends or begin with a blank")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"authentication": {"type": "digest", "secret": "x"}},
            "authentication: authentication: `type` must be one of",
        ),
        ({"authentication": {"type": "basic"}}, "authentication: authentication: `secret` must be the name"),
        ({"authentication": {"type": "basic", "secret": "x", "user": 1}}, "authentication: authentication: unknown"),
        ({"authentication": {"type": "token", "secret": "x", "bearer": 1}}, "authentication: authentication: `bearer`"),
        ({"verify": ""}, "verify: "),
        ({"paginate": {}}, "paginate: paginate: `by` must be one of link, page, offset, cursor"),
        ({"paginate": {"by": "page"}}, "paginate: paginate: `param` is missing"),
        ({"paginate": {"by": "cursor", "param": "c"}}, "paginate: paginate: `next` is missing"),
        ({"paginate": {"by": "link", "items": ".["}}, "paginate: paginate: `items`: jq"),
        (
            {"paginate": {"by": "link", "item": "."}},
            "paginate: paginate: unknown property 'item'; did you mean 'items'",
        ),
        ({"paginate": {"by": "link", "end_status": 200}}, "paginate: paginate: `end_status` must be an HTTP status"),
        ({"paginate": {"by": "link", "max_pages": 0}}, "paginate: paginate: `max_pages`"),
    ],
)
def test_what_cannot_be_is_a_mistake(mistakes, options, told):
    assert [found.startswith(told) for found in mistakes("rest", {"uri": "http://a", **options})] == [True]


def test_what_is_secret_is_not_sent_to_another_server(run_flow, server, call):
    run = run_flow(
        """
        steps:
          - name: token
            type: rest
            rest: {uri: "{{ __input__ }}/moved-away", authentication: {type: token, secret: portal}}
          - name: key
            type: rest
            rest: {uri: "{{ __input__ }}/moved-away", authentication: {type: api-key, secret: weather}}
          - name: own
            type: rest
            rest:
              uri: "{{ __input__ }}/moved-away"
              headers: {Authorization: mine, X-Own: "a {{ secret('portal').token }}", X-Plain: open}
          - name: here
            type: rest
            rest: {uri: "{{ __input__ }}/moved", headers: {X-Own: "{{ secret('portal').token }}"}}
        """,
        payload=server,
    )
    assert run.status == "success", run.message
    for name in ("token", "key", "own"):
        headers = run.result[name]["headers"]
        assert headers["Host"].startswith("localhost")
        assert not {"Authorization", "X-Auth", "X-Own"} & set(headers)
    assert run.result["own"]["headers"]["X-Plain"] == "open"
    assert run.result["here"]["headers"]["X-Own"] == "***"


def test_the_log_says_what_another_server_does_not_get(run_flow, server):
    headers = "headers: {Cookie: 'a=1', X-Plain: b, Authorization: 'Bearer x'}"
    port = server.rpartition(":")[2]
    run = run_flow(f"""
        steps:
          - {{name: far, type: rest, rest: {{uri: "{server}/moved-away", {headers}}}}}
          - {{name: near, type: rest, rest: {{uri: "{server}/moved", {headers}}}}}
          - {{name: login, type: rest, rest: {{uri: "http://:only-a-word@127.0.0.1:{port}/moved-away"}}}}
    """)
    assert run.status == "success", run.message
    away = f"GET {server}/moved-away: redirected to another server, localhost:{port}, which does not get "
    assert [line.partition("WARNING ")[2] for line in run.log.splitlines() if "WARNING" in line] == [
        f"far: {away}Cookie, Authorization",
        f"login: {away}the login of the uri",
    ]


def test_a_certificate_is_verified(perform, secure_server):
    with pytest.raises(StepError, match=r"^GET https://127\.0\.0\.1:\d+/number: .*[Cc]ertificate"):
        perform("rest", {"uri": f"{secure_server}/number"})


def test_verify_names_a_file_with_certificates(perform, secure_server, certificates, data_folder):
    (data_folder / "ca.pem").write_bytes((certificates / "ca.pem").read_bytes())
    assert perform("rest", {"uri": f"{secure_server}/number", "verify": "ca.pem"}) == 42
    # A connection that was verified once serves nobody who trusts somebody else.
    with pytest.raises(StepError, match=r"[Cc]ertificate"):
        perform("rest", {"uri": f"{secure_server}/number"})
    with pytest.raises(StepError, match="leads out of its folder"):
        perform("rest", {"uri": f"{secure_server}/number", "verify": "../ca.pem"})
    (data_folder / "bad.pem").write_text("no certificate")
    for path, told in (
        ("gone.pem", "verify: file 'gone.pem' not found"),
        ("bad.pem", "(?i)no certificate|certificates to trust"),
    ):
        with pytest.raises(StepError, match=told):
            perform("rest", {"uri": f"{secure_server}/number", "verify": path})


def test_verify_false_warns_in_the_log(run_flow, secure_server):
    run = run_flow(
        "steps: [{name: s, type: rest, rest: {uri: '{{ __input__ }}/number', verify: false}}]", payload=secure_server
    )
    assert run.result["s"] == 42, run.message
    assert "WARNING s: the server's certificate is not verified (verify: false)" in run.log
    assert "InsecureRequestWarning" not in run.log


@pytest.mark.parametrize(
    "paginate",
    [
        {"by": "link"},
        {"by": "page", "param": "p"},
        {"by": "offset", "param": "at"},
        {"by": "cursor", "param": "at", "next": ".next"},
        {"by": "cursor", "param": "unused", "next": ".uri"},
    ],
    ids=["link", "page", "offset", "cursor", "cursor-uri"],
)
def test_the_items_of_all_pages_are_the_result(call, paginate):
    path = f"/rows/{paginate['by']}"
    assert call(path, paginate={**paginate, "items": ".rows"}) == [1, 2, 3, 4, 5]
    assert call(path, paginate={**paginate, "items": ".rows", "max_pages": 2}) == [1, 2, 3, 4]


def test_the_query_says_where_to_begin_and_stays(call):
    paginate = {"by": "page", "param": "p", "items": "if .rows == [] then [] else [.path] end"}
    pages = call("/rows/page?a=1", query={"p": 2, "b": "x"}, paginate=paginate)
    assert pages == ["/rows/page?a=1&b=x&p=2", "/rows/page?a=1&b=x&p=3"]


def test_a_parameter_in_the_uri_says_where_to_begin_and_is_sent_once(call):
    paginate = {"by": "page", "param": "p", "items": "[.rows[], .path]", "max_pages": 2}
    found = call("/rows/page?%70=2&b=x%20y#z", paginate=paginate)
    assert found == [3, 4, "/rows/page?b=x%20y&p=2", 5, "/rows/page?b=x%20y&p=3"]
    # The query takes precedence.
    found = call("/rows/page?p=9", query={"p": 3}, paginate={**paginate, "items": "[.path]", "max_pages": 1})
    assert found == ["/rows/page?p=3"]
    cursor = {"by": "cursor", "param": "at", "next": ".next", "items": ".rows"}
    assert call("/rows/cursor?at=2", paginate=cursor) == [3, 4, 5]


def test_a_relative_link_is_followed(call):
    assert call("/rows/link-relative", paginate={"by": "link", "items": ".rows"}) == [1, 2, 3, 4, 5]


def test_a_page_on_another_server_is_not_told_what_is_secret(call):
    seen = call(
        "/rows/link-away",
        headers={"X-Plain": "open"},
        authentication={"type": "token", "secret": "portal"},
        paginate={"by": "link", "items": "[.login]"},
    )
    assert seen == [["Bearer t0ken-value", None, "open"], [None, None, "open"], [None, None, "open"]]


def test_an_error_on_any_page_is_the_steps(call):
    with pytest.raises(StepError, match="503") as caught:
        call("/rows/page-fails", paginate={"by": "page", "param": "p", "items": ".rows"})
    assert caught.value.details["status_code"] == 503


@pytest.mark.parametrize(
    "paginate",
    [
        {"by": "link"},
        {"by": "cursor", "param": "at", "next": ".next"},
        {"by": "cursor", "param": "at", "next": ".uri"},
        {"by": "cursor", "param": "at", "next": '."path-next"'},
        {"by": "cursor", "param": "at", "next": '."query-next"'},
        {"by": "cursor", "next": '."path-next"'},
    ],
    ids=str,
)
def test_pages_go_on_after_an_empty_one_as_long_as_there_is_a_next(call, paginate):
    assert call("/rows/gap", paginate={**paginate, "items": ".rows"}) == [1, 2, 5]


def test_a_cursor_that_begins_with_a_slash_is_not_a_path(call):
    items = "[.path]"
    paginate = {
        "by": "cursor",
        "param": "c",
        "next": 'if (.path | contains("c=")) then null else "/+a=" end',
        "items": items,
    }
    assert call("/rows/cursor", paginate=paginate) == ["/rows/cursor", "/rows/cursor?c=%2F%2Ba%3D"]


def test_pages_end_with_the_status_that_the_service_says(call, server):
    paginate = {"by": "offset", "param": "at", "items": ".rows"}
    assert call("/rows/ends", paginate={**paginate, "end_status": [404, 416]}) == [1, 2, 3, 4, 5]
    for statuses in ({}, {"end_status": 404}):
        with pytest.raises(StepError, match="416"):
            call("/rows/ends", paginate={**paginate, **statuses})
    # The first page is no end.
    with pytest.raises(StepError, match="416"):
        call("/rows/ends", query={"at": 9}, paginate={**paginate, "end_status": 416})


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<a>; rel="next"', "a"),
        ("<a>;rel=next", "a"),
        ('<a>; rel="prev next"', "a"),
        ('<a>; REL = "NEXT"', "a"),
        ('<a>; rel=prev, <b;c,d?x=1>; rel="next"', "b;c,d?x=1"),
        ('<a>; title="x, <y>; rel=next"; rel=last, <b>; rel=next', "b"),
        ('<a>; title="a \\" b"; rel=next', "a"),
        ("<a>; rel=prev; rel=next", None),
        ('<a>; rel=next; anchor="/else"', None),
        ("<a>; rel=nextish", None),
        ("<a", None),
        ("", None),
        (", ,<a>;;rel=next", "a"),
    ],
)
def test_link_headers_are_read_as_the_standard_says(header, target):
    from scflows.connectors.http.link_header import next_link

    assert next_link(header) == target


@pytest.mark.parametrize(
    ("paginate", "told"),
    [
        ({"by": "link"}, "page 1: not a list; set `items`"),
        ({"by": "link", "items": ".next"}, "page 1: `items` does not return a list"),
        ({"by": "cursor", "param": "at", "next": ".same", "items": ".rows"}, "page 2 leads back to an earlier page"),
        ({"by": "cursor", "param": "at", "next": "[1]", "items": ".rows"}, "page 1: `next` must return text"),
    ],
)
def test_pages_that_make_no_sense_are_errors(call, paginate, told):
    path = "/rows/cursor" if paginate["by"] == "cursor" else "/rows/link"
    with pytest.raises(StepError, match=told):
        call(path, paginate=paginate)


def test_threads_share_connections(call):
    ports: list[int] = []
    for _ in range(6):
        thread = threading.Thread(target=lambda: ports.append(call("/echo")["port"]))
        thread.start()
        thread.join()
    assert len(ports) == 6
    assert len(set(ports)) == 1
