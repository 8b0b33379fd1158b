"""What `rest` promises, against a real server."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scflows import __version__
from scflows.connectors.http.response import reason_in
from scflows.errors import StepError
from scflows.secrets.masking import Mask

pytestmark = pytest.mark.language("§4 rest")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    # A process of its own: runs are forked, which a process with threads should not be.
    script = Path(__file__).with_name("http_server.py")
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.communicate()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def call(perform, server):
    def run(path, data=None, **options):
        return perform("rest", {"uri": server + path, **options}, data)

    return run


def test_a_flow_calls_an_api(run_flow, server):
    run = run_flow(
        """
        steps:
          - name: seen
            type: rest
            rest:
              uri: "{{ __input__.server }}/echo?day=5"
              method: post
              query: {tag: "{{ __input__.tag }}", many: [1, true, null, "a&b"], none: null, half: 0.5}
              headers: {X-Text: "{{ __input__.tag }}", X-Number: 7, X-Flag: false, X-None: null}
              body: {rows: ["{{ literal }}"]}
            jq_expression: "{method, path, headers, body}"
        """,
        payload={"server": server, "tag": "é b"},
    )
    assert run.status == "success", run.message
    seen = run.result["seen"]
    assert seen["method"] == "POST"
    assert seen["path"] == "/echo?day=5&tag=%C3%A9+b&many=1&many=true&many=a%26b&half=0.5"
    assert seen["body"] == {"rows": ["{{ literal }}"]}
    headers = seen["headers"]
    assert (headers["X-Text"], headers["X-Number"], headers["X-Flag"]) == ("é b", "7", "false")
    assert "X-None" not in headers
    assert headers["User-Agent"] == f"scflows/{__version__}"
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/unicode", {"name": "Plaça de l’Àngel 😀"}),
        ("/text", "plain, no JSON"),
        ("/number", 42),
        ("/latin", "Plaça"),
        ("/latin-unsaid", "Plaça"),
        ("/nan", '{"v": NaN}'),
        ("/created", {}),
        ("/nothing", None),
        ("/empty", None),
        ("/gzip", {"packed": True}),
    ],
)
def test_the_result_is_the_json_else_the_text_else_null(call, path, result):
    assert call(path) == result


@pytest.mark.parametrize(
    "path",
    [
        "/charset/" + each
        for each in ("utf-8", "iso-8859-1", "windows-1252", "utf-16", "utf-16-le", "utf-32", "mac-roman")
    ]
    + ["/undeclared/" + each for each in ("utf-8", "utf-8-sig", "utf-16", "utf-32-be")],
)
def test_json_is_read_in_its_charset(call, path):
    assert call(path) == {"name": "Peñíscola"}


@pytest.mark.parametrize(
    "coding", ["gzip", "x-gzip", "two-members", "padded", "deflate", "raw-deflate", "twice", "identity"]
)
def test_a_compressed_answer_is_unpacked(call, coding):
    assert call(f"/coded/{coding}") == {"rows": [1, 2, 3], "name": "packed"}


@pytest.mark.parametrize(
    ("coding", "message"),
    [
        ("cut-gzip", r"the answer is cut: its compressed body \(gzip\) is not complete"),
        ("cut-trailer", "is not complete"),
        ("cut-deflate", r"its compressed body \(deflate\) is not complete"),
        ("damaged", r"the answer cannot be unpacked \(gzip\)"),
        ("many", "the answer has more than 10 content codings"),
        ("unknown", "the answer has the unknown content coding 'snappy'"),
        ("unknown-after", "the answer has the unknown content coding 'zstandard'"),
    ],
)
def test_an_answer_that_cannot_be_unpacked_is_an_error(call, coding, message):
    with pytest.raises(StepError, match=message):
        call(f"/coded/{coding}")


def test_an_answer_with_a_number_that_cannot_be_held_is_an_error(call):
    with pytest.raises(StepError, match=r"/digits: the answer: JSON: 0\.1234.* more digits .* \(line 2, column 2\)"):
        call("/digits")
    with pytest.raises(StepError, match="500") as caught:
        call("/error-digits")
    assert caught.value.details["response_content"] == "[0.1234567890123456789012]"


@pytest.mark.parametrize(
    ("method", "options", "body"),
    [
        ("GET", {"body": {"a": 1}, "data_key": "gone"}, None),
        ("POST", {}, {}),
        ("PUT", {"body": [1]}, [1]),
        ("patch", {"body": {"a": 1}, "data_key": "rows"}, [{"v": "é"}]),
        ("DELETE", {}, None),
        ("Delete", {"body": {"a": 1}}, {"a": 1}),
        ("DELETE", {"data_key": "rows"}, [{"v": "é"}]),
    ],
)
def test_which_method_sends_which_body(call, method, options, body):
    seen = call("/echo", {"rows": [{"v": "é"}]}, method=method, **options)
    assert (seen["method"], seen["body"]) == (method.upper(), body)


@pytest.mark.parametrize("value", ["text", 5, None])
def test_a_body_is_a_mapping_or_a_list(call, value):
    with pytest.raises(StepError, match="must be a mapping or a list"):
        call("/echo", {"v": value}, method="POST", data_key="v")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"detail": "no such station"}', ": no such station"),
        ('{"error": {"code": 7, "message": "quota\\nused up"}}', ": quota"),
        ('{"errors": [{"title": "bad day"}, {"title": "other"}]}', ": bad day"),
        ('{"code": 7}', ': {"code": 7}'),
        ('[{"x": 1}]', ': {"x": 1}'),
        ("first line\nsecond line", ": first line"),
        ("<html><head><title>Bad  Gateway</title></head><body>long</body></html>", ": Bad Gateway"),
        ("<html><body>nothing</body></html>", ""),
        ("Not Found", ""),
        ("{}", ""),
        ("", ""),
        ("a\x1b[31mb", ": a�[31mb"),
        ("x" * 300, f": {'x' * 200}…"),
    ],
)
def test_what_a_failed_answer_says_is_in_the_message(call, body, message):
    with pytest.raises(StepError) as caught:
        call("/refuse", query={"body": body})
    assert str(caught.value).endswith(f"/refuse: 404 Not Found{message}")


def test_a_secret_in_a_failed_answer_is_masked_before_it_is_cut():
    mask = Mask()
    mask.add(["a-long-secret"])
    assert reason_in("x" * 195 + "a-long-secret", mask.text) == "x" * 195 + "***"


@pytest.mark.parametrize(
    ("path", "status", "content"),
    [
        ("/error", 500, {"why": "broken"}),
        ("/error-text", 418, "I am a teapot"),
        ("/error-empty", 404, None),
        ("/moved-to-error", 418, "I am a teapot"),
    ],
)
def test_any_other_status_is_an_error_with_its_details(call, path, status, content):
    with pytest.raises(StepError, match=f"^GET http://127.*{path}: {status} ") as caught:
        call(path)
    assert caught.value.details == {"status_code": status, "response_content": content}


@pytest.mark.language("§3 Errors")
def test_an_error_can_be_ignored_by_its_details(run_flow, server):
    run = run_flow(
        """
        steps:
          - {name: a, type: rest, rest: {uri: "{{ __input__ }}/error"}, ignore_errors: "'status_code': 500"}
          - {name: b, type: rest, rest: {uri: "{{ __input__ }}/error"}, ignore_errors: '"why": "broken"'}
        """,
        payload=server,
    )
    assert run.status == "success"
    assert [entry["error"]["status_code"] for entry in run.errors] == [500, 500]


@pytest.mark.language("§6 Limits")
def test_only_the_beginning_of_a_huge_error_is_kept(call):
    with pytest.raises(StepError) as caught:
        call("/error-huge")
    assert len(caught.value.details["response_content"]) == 256 * 1024


@pytest.mark.language("§6 Limits")
@pytest.mark.parametrize("path", ["/huge", "/gzip-bomb"])
def test_a_larger_answer_than_allowed_is_an_error(call, path):
    assert len(call(path)) >= 3_000_000
    with pytest.raises(StepError, match="more than 1000 bytes"):
        call(path, max_bytes=1000)


def test_the_body_of_a_redirect_is_not_read(call):
    # What the sockets have room for may be sent.
    assert call("/moved-huge") < 32


def test_compressed_data_that_unpacks_to_nothing_is_bounded_too(call):
    with pytest.raises(StepError, match="more than 1000 bytes"):
        call("/empty-members", max_bytes=1000)


def test_redirects_are_followed(call, server):
    assert call("/moved")["path"] == "/echo?moved=1"
    seen = call("/moved-307", method="POST", body={"a": 1})
    assert (seen["method"], seen["body"]) == ("POST", {"a": 1})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_write_stays_a_write_with_its_body_headers_and_cookies(call, status, method):
    """A redirect that turned it into a read, or left out its body, would succeed without having written anything."""
    headers = {"Cookie": "mine=1; via=me", "X-Own": "kept"}
    seen = call(f"/moved/{status}/x", method=method, body={"n": [17]}, headers=headers)
    assert (seen["method"], seen["body"]) == (method, {"n": [17]})
    # A cookie that the redirect sets replaces the one of that name.
    assert (seen["headers"]["Cookie"], seen["headers"]["X-Own"]) == ("mine=1; via=moved", "kept")
    assert seen["headers"]["Content-Type"] == "application/json"


def test_what_a_write_has_made_is_read_after_see_other(call):
    seen = call("/moved/303/x", method="POST", body={"n": [17]}, headers={"X-Own": "kept"})
    assert (seen["method"], seen["body"]) == ("GET", None)
    assert (seen["headers"]["Cookie"], seen["headers"]["X-Own"]) == ("via=moved", "kept")
    assert "Content-Type" not in seen["headers"]


def test_a_uri_may_end_with_a_line_break_and_have_none_inside(run_flow, server):
    run = run_flow(
        """
        steps:
          - name: block
            type: rest
            rest:
              uri: >
                {{ __input__ }}/echo?a=1
            jq_expression: .path
          - name: broken
            type: rest
            rest:
              uri: |
                {{ __input__ }}/echo
                ?a=1
            ignore_errors: "a uri must not contain line breaks"
        """,
        payload=server,
    )
    assert run.status == "success", run.message
    assert run.result["block"] == "/echo?a=1"


@pytest.mark.parametrize(
    ("path", "told"), [("/round", "too many redirects"), ("/moved-to-file", "No connection adapters")]
)
def test_a_redirect_that_leads_nowhere_is_an_error(call, path, told):
    with pytest.raises(StepError, match=told):
        call(path)


def test_an_answer_that_breaks_off_is_an_error(call):
    with pytest.raises(StepError, match="the answer broke off"):
        call("/cut")


def test_a_refused_connection_says_so(perform):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://ann:secret@127.0.0.1:{taken.getsockname()[1]}/rows?key=secret"
        with pytest.raises(StepError, match=r"^GET http://127\.0\.0\.1:\d+/rows: Connection refused$") as caught:
            perform("rest", {"uri": uri})
    assert caught.value.details == {"status_code": None, "response_content": None}


def test_a_slow_answer_is_cut_short_by_the_steps_timeout(run_flow, server):
    run = run_flow(
        """
        steps:
          - name: slow
            type: rest
            timeout: 0.3
            rest: {uri: "{{ __input__ }}/slow"}
            ignore_errors: [took longer, no answer within]
        """,
        payload=server,
    )
    assert run.status == "success", run.message


@pytest.mark.parametrize(
    "uri",
    ["", "api.example.org", "ftp://example.org/x", "file:///etc/hostname", "http://", "http://[::1", "http://a b/"],
)
def test_only_http_is_called(perform, uri):
    with pytest.raises(StepError):
        # As a template, because a fixed address is refused before the flow runs.
        perform("rest", {"uri": "{{ '' }}" + uri})


@pytest.mark.parametrize(("name", "value"), [("X-A", "two\r\nX-B: lines"), ("X-A", "😀")])
def test_a_header_that_cannot_be_sent_is_a_step_error(call, name, value):
    with pytest.raises(StepError, match=r"^GET http"):
        call("/echo", headers={name: value})


def test_a_given_header_wins_whatever_its_case(call):
    seen = call("/echo", method="POST", headers={"user-agent": "mine", "content-type": "text/x"})["headers"]
    assert (seen["user-agent"], seen["content-type"]) == ("mine", "text/x")
    assert not {"User-Agent", "Content-Type"} & set(seen)


def test_a_login_in_the_uri_is_sent_and_one_in_netrc_is_not(perform, server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("default login ann password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = perform("rest", {"uri": f"{server}/echo", "headers": {"Authorization": "Bearer mine"}})
    assert seen["headers"]["Authorization"] == "Bearer mine"
    assert "Authorization" not in perform("rest", {"uri": f"{server}/echo"})["headers"]
    with_login = server.replace("//", "//ann:b%40c@")
    assert perform("rest", {"uri": f"{with_login}/echo"})["headers"]["Authorization"] == "Basic YW5uOmJAYw=="


def test_calls_share_a_connection_and_no_cookies(call):
    first, _, second = call("/echo"), call("/cookie"), call("/echo")
    assert first["port"] == second["port"]
    assert "Cookie" not in second["headers"]


def test_a_dry_run_reads_and_does_not_send(run_flow, server):
    run = run_flow(
        """
        steps:
          - {name: read, type: rest, rest: {uri: "{{ __input__ }}/number"}}
          - {name: send, type: rest, rest: {uri: "{{ __input__ }}/echo?key=1", method: put}}
        """,
        payload=server,
        dry_run=True,
    )
    assert (run.result["read"], run.result["send"]) == (42, {})
    assert f"would send PUT {server}/echo\n" in run.log


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"headers": {"X A": "1"}}, "headers: 'X A' is not a valid header name"),
        ({"headers": {"é": "1"}}, "headers: 'é' is not a valid header name"),
        ({"headers": {"": "1"}}, "headers: '' is not a valid header name"),
        ({"headers": {"X": [1]}}, "headers: header 'X'"),
        ({"query": {"q": {"a": 1}}}, "query: parameter 'q'"),
        ({"query": {"q": [[1]]}}, "query: parameter 'q'"),
    ],
)
def test_values_that_cannot_be_sent_are_mistakes(mistakes, options, told):
    assert [found.startswith(told) for found in mistakes("rest", {"uri": "http://a", **options})] == [True]


@pytest.mark.language("§9 Retries")
def test_a_wait_that_the_api_asks_for_wins(run_flow, server):
    run = run_flow(f"""
        steps:
          - {{name: s, type: rest, retry: {{attempts: 3, delay: 60}}, rest: {{uri: "{server}/busy"}}}}
    """)
    assert run.status == "success", run.message
    assert run.result["s"] == []
    assert run.errors == []


def test_each_page_is_tried_again_by_itself(run_flow, server):
    run = run_flow(f"""
        steps:
          - name: s
            type: rest
            retry: {{attempts: 2, delay: 0}}
            rest: {{uri: "{server}/rows/flaky", paginate: {{by: page, param: p, items: .rows}}}}
    """)
    assert run.status == "success", run.message
    assert run.result["s"] == [1, 2, 3, 4, 5]
    assert run.log.count("attempt 1 failed") == 4


def test_a_page_that_fails_for_good_is_tried_as_often_as_any_call(run_flow, server):
    run = run_flow(f"""
        steps:
          - name: s
            type: rest
            retry: {{attempts: 3, delay: 0}}
            rest: {{uri: "{server}/rows/page-fails", paginate: {{by: page, param: p, items: .rows}}}}
    """)
    assert run.errors[0]["error"]["attempts"] == 3
    assert run.log.count("failed, the next follows") == 2


def test_a_refused_connection_is_tried_again(run_flow):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        run = run_flow(f"""
            steps:
              - {{name: s, type: rest, retry: {{attempts: 2, delay: 0}}, rest: {{uri: "http://127.0.0.1:{port}/"}}}}
        """)
    assert run.errors[0]["error"]["attempts"] == 2


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        ("1.", 1.0),
        ("-3", None),
        ("1e3", None),
        ("Wed Oct 21 07:28:30 2015", 30.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(said, seconds):
    from types import SimpleNamespace
    from typing import Any

    from scflows.connectors.http.response import retry_after

    answer: Any = SimpleNamespace(headers={"retry-after": said})
    assert retry_after(answer, 1445412480.0) == seconds
