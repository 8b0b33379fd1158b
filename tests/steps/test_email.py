"""Mails, as a real server over TLS gets them."""

from __future__ import annotations

import asyncio
import re
import threading
from email import message_from_bytes, policy
from types import SimpleNamespace

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult

from scflows.errors import StepError
from scflows.expressions.templates import Expressions
from scflows.history.task_log import TaskLog
from scflows.steps import Context
from scflows.steps.registry import find_step

# The server's own library says how it should be set up; the clients here are what is tested.
pytestmark = [
    pytest.mark.language("§10 email"),
    pytest.mark.filterwarnings("ignore::UserWarning:aiosmtpd", "ignore:Session.login_data"),
]
PASSWORD = "pass 'word' ü"


class Box:
    """Takes every mail, but for who is not known."""

    def __init__(self) -> None:
        self.mails: list[SimpleNamespace] = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 there is nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content.replace(b"\r\n", b"\n"), policy=policy.default)
        self.mails.append(
            SimpleNamespace(
                message=message,
                sender=envelope.mail_from,
                to=envelope.rcpt_tos,
                tls=server.transport.get_extra_info("ssl_object") is not None,
            )
        )
        return "250 taken"


def login(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"ann" and data.password == PASSWORD.encode(), handled=False)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def post(authority, tmp_path):
    """Start a server: its box, and the secret that leads to it."""
    import ssl

    started = []
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def start(security: str = "starttls", **more):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(more.pop("host", "localhost")).configure_cert(context)
        box = Box()
        options = {"hostname": "localhost", "auth_exclude_mechanism": ["CRAM-MD5"]}
        if security == "tls":
            options |= {"authenticator": login, "auth_require_tls": False}
        elif security == "starttls":
            options |= {"tls_context": context, "require_starttls": True, "authenticator": login}
        loop = asyncio.new_event_loop()
        made = loop.create_server(
            lambda: SMTP(box, loop=loop, **options), "127.0.0.1", 0, ssl=context if security == "tls" else None
        )
        server = loop.run_until_complete(made)
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        started.append((loop, server, thread))
        port = server.sockets[0].getsockname()[1]
        secret = {"host": "localhost", "port": str(port), "from": "Flows <flows@example.org>", "security": security}
        if security != "none":
            secret |= {"username": "ann", "password": PASSWORD, "ca_file": str(tmp_path / "ca.pem")}
        return box, secret

    yield start
    for loop, server, thread in started:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(_finished(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _finished() -> None:
    """Wait until every conversation with the server is over."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)


@pytest.fixture
def send(settings, workspace):
    """Run the step with a secret at hand."""

    def run(secret, data=None, remaining=lambda: None, **options):
        step_class = find_step("email")
        options = {"secret": "smtp", "to": ["ops@example.org"], "subject": "Hello", **options}
        if "template" not in options:
            options.setdefault("body", "It is done.")
        assert list(step_class.check(options)) == []
        folders = (settings.templates_path, str(workspace / "tasks"))
        flow = str(workspace / "tasks/flow.yml")
        log = TaskLog(str(workspace / "log"))
        ctx = Context(settings, data or {}, Expressions(folders), log, flow, False, remaining)
        ctx.secret = {"smtp": secret}.__getitem__
        return step_class(**options).run(ctx)

    return run


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_goes_over_tls_with_a_login(post, send, security):
    box, secret = post(security)
    result = send(secret, to="Ops <ops@example.org>, b@example.org", cc=["c@example.org"], bcc="d@example.org")
    (mail,) = box.mails
    assert mail.tls
    assert mail.sender == "flows@example.org"
    assert mail.to == ["ops@example.org", "b@example.org", "c@example.org", "d@example.org"]
    assert mail.message["To"] == "Ops <ops@example.org>, b@example.org"
    assert (mail.message["Cc"], mail.message["Bcc"]) == ("c@example.org", None)
    assert mail.message["From"] == "Flows <flows@example.org>"
    assert mail.message["Subject"] == "Hello"
    assert mail.message.get_content() == "It is done.\n"
    assert result == {"message_id": mail.message["Message-ID"], "refused": []}
    assert re.fullmatch(r"<.+@example\.org>", result["message_id"])


def test_letters_of_any_script_arrive(post, send):
    box, secret = post()
    send(secret, subject="Größe 测试 " + "ü" * 100, body="äöü 测试 🌧\n" + "x" * 2000)
    (mail,) = box.mails
    assert mail.message["Subject"] == "Größe 测试 " + "ü" * 100
    assert mail.message.get_content() == "äöü 测试 🌧\n" + "x" * 2000 + "\n"


def test_the_text_may_come_from_a_template_file(post, send, workspace):
    box, secret = post()
    (workspace / "tasks/mail.j2").write_text("<p>{{ count }} rows, run {{ __job_id__ }}</p>")
    send(secret, {"summary": {"count": 3}, "__job_id__": "X"}, template="mail.j2", data_key="summary", format="html")
    (mail,) = box.mails
    assert mail.message.get_content_type() == "text/html"
    assert mail.message.get_content() == "<p>3 rows, run X</p>\n"


def test_files_are_attached(post, send, workspace):
    box, secret = post()
    (workspace / "data/out").mkdir(parents=True)
    (workspace / "data/out/day.csv").write_text("a,b\n1,2\n")
    (workspace / "data/out/raw.bin").write_bytes(bytes(range(256)))
    send(secret, attach=["out/day.csv", "out/raw.bin"])
    table, raw = box.mails[0].message.iter_attachments()
    assert (table.get_filename(), table.get_content_type()) == ("day.csv", "text/csv")
    assert raw.get_content() == bytes(range(256))


@pytest.mark.language("§4 Paths")
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("../secrets.yml", "leads out"),
        ("secrets.yml", "belongs to the settings"),
        ("gone.csv", "gone.csv: No such file"),
        ("big.csv", "the attachments exceed max_bytes"),
    ],
)
def test_what_may_not_be_attached_is_refused(post, send, workspace, path, told):
    box, secret = post()
    (workspace / "data").mkdir()
    (workspace / "data/secrets.yml").write_text("- {}\n")
    (workspace / "data/big.csv").write_text("x" * 1001)
    with pytest.raises(StepError, match=told):
        send(secret, attach=[path], max_bytes=1000)
    assert box.mails == []


@pytest.mark.parametrize(
    "options",
    [
        {"subject": "Hello\nBcc: spy@example.org"},
        {"subject": "Hello\r\n\r\nanother text"},
        {"to": ["ops@example.org\nBcc: spy@example.org"]},
        {"to": "ops@example.org\r\nRCPT TO:<spy@example.org>"},
        {"cc": "a@example.org\x00"},
        {"sender": "a@example.org\nX: y"},
        {"reply_to": "a@example.org\nX: y"},
    ],
    ids=str,
)
def test_no_header_can_be_smuggled_in(post, send, options):
    box, secret = post()
    with pytest.raises(StepError, match="one line without control characters"):
        send(secret, **options)
    assert box.mails == []


@pytest.mark.parametrize("to", ["ops", "a b@example.org", "@example.org", ["<>"], [5], "", []])
def test_what_is_no_address_is_refused(post, send, to):
    box, secret = post()
    with pytest.raises(StepError, match=r"invalid address|must be text|no recipients"):
        send(secret, to=to)
    assert box.mails == []


def test_who_is_refused_is_in_the_result_and_all_of_them_are_an_error(post, send):
    box, secret = post()
    assert send(secret, to=["ops@example.org", "nobody@example.org"])["refused"] == ["nobody@example.org"]
    assert len(box.mails) == 1
    with pytest.raises(StepError, match=r"every recipient was refused: nobody@example\.org: 550 there is nobody"):
        send(secret, to="nobody@example.org")


def test_a_certificate_of_somebody_else_is_refused(post, send):
    for security in ("starttls", "tls"):
        box, secret = post(security, host="another.example.org")
        with pytest.raises(StepError, match="certificate verify failed"):
            send(secret)
        del secret["ca_file"]
        with pytest.raises(StepError, match="certificate verify failed"):
            send(secret)
        assert box.mails == []


def test_without_tls_on_the_server_nothing_is_sent(post, send):
    box, secret = post("none")
    with pytest.raises(StepError, match="STARTTLS"):
        send({**secret, "security": "starttls"})
    assert box.mails == []
    send(secret)
    assert not box.mails[0].tls


def test_a_wrong_password_is_an_error_that_does_not_show_it(post, send):
    box, secret = post()
    with pytest.raises(StepError, match="535") as caught:
        send({**secret, "password": "wrong-one"})
    assert "wrong-one" not in str(caught.value)
    assert box.mails == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"host": None}, "Connection refused|no field 'host'"),
        ({"port": "x"}, "`port` in the secret must be a number from 1 to 65535"),
        ({"security": "ssl"}, "`security` in the secret must be one of starttls, tls, none, not 'ssl'"),
        ({"port": "9"}, "mail server localhost:9: .*refused"),
        ({"from": "", "username": ""}, "no sender"),
    ],
)
def test_a_secret_that_does_not_do_is_told(send, fields, told):
    secret = {"host": "localhost", "port": "9", "from": "a@example.org", **fields}
    if secret["host"] is None:
        del secret["host"]
    with pytest.raises(StepError, match=told):
        send(secret)


def test_a_server_that_says_nothing_is_left_after_the_steps_time(send):
    import socket

    with socket.create_server(("localhost", 0)) as silent:
        port = silent.getsockname()[1]
        secret = {"host": "localhost", "port": str(port), "from": "a@example.org", "security": "none"}
        with pytest.raises(StepError, match="timed out"):
            send(secret, remaining=lambda: 0.3)


def test_a_text_and_a_template_together_are_a_mistake(mistakes):
    given = {"secret": "s", "to": "a@b.c", "subject": "x"}
    assert mistakes("email", given) == mistakes("email", {**given, "body": "a", "template": "b"}) != []


def test_control_characters_in_a_mail_are_visible(post, send):
    box, secret = post()
    send(secret, body="a\x1b[2J\x9bb\tc\x00\r\nd")
    (mail,) = box.mails
    assert mail.message.get_content() == "a\\x1b[2J\\x9bb\tc\\x00\nd\n"


def test_a_dry_run_says_what_it_would_send(run_flow):
    run = run_flow(
        "steps: [{name: m, type: email, email: {secret: s, to: [a@example.org], subject: 'Hi {{ 1 + 1 }}', body: x}}]",
        dry_run=True,
    )
    assert run.status == "success"
    assert "would send 'Hi 2' to a@example.org" in run.log
    assert run.result["m"] == {"message_id": None, "refused": []}


SMTP_SERVER = """
import itertools, socketserver, sys
calls = itertools.count()
class Handler(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\\r\\n")
    def handle(self):
        manner = sys.argv[1:][next(calls)]
        if manner == "closed":
            return
        if manner == "421":
            return self.say("421 4.3.2 busy")
        self.say("220 here")
        while line := self.rfile.readline():
            word = line.strip().upper()[:4].decode()
            if word == manner.partition(":")[0]:
                if not manner.partition(":")[2]:
                    return
                self.say(manner.partition(":")[2] + " not now")
            elif word == "DATA":
                self.say("354 go")
                while (line := self.rfile.readline()) != b".\\r\\n":
                    if line.lower().startswith(b"message-id:"):
                        print(line.decode().split()[1], flush=True)
                if manner == "END":
                    return
                self.say("250 taken")
            elif word == "QUIT":
                return self.say("221 bye")
            else:
                self.say("250 fine")
server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture
def smtp(workspace):
    """Start a server that behaves in the given ways, one connection after another, and prints the ids of messages."""
    import subprocess
    import sys

    started = []

    def start(*manners):
        started.append(
            subprocess.Popen([sys.executable, "-c", SMTP_SERVER, *manners], stdout=subprocess.PIPE, text=True)
        )
        (workspace / "data").mkdir()
        secrets = workspace / "data" / "secrets.yml"
        port = started[-1].stdout.readline().strip()
        secrets.write_text(f"- {{name: smtp, host: 127.0.0.1, port: {port}, security: none, from: a@example.org}}")
        secrets.chmod(0o600)
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()
        each.stdout.close()


def test_a_mail_that_is_sent_again_keeps_its_id_and_another_one_has_its_own(run_flow, flows, workspace, smtp):
    server = smtp("END", "taken", "taken", "taken", "taken", "END", "taken")
    mail = "email: {secret: smtp, to: ops@example.org, subject: x, body: y"
    run = run_flow(f"""
        steps:
          - {{name: mail, type: email, retry: {{attempts: 2, delay: 0}}, {mail}}}}}
          - {{name: again, type: goto, when: not once, goto: {{step_name: mark}}}}
          - {{name: next, type: goto, goto: {{step_name: other}}}}
          - {{name: mark, type: set_fact, result_key: once, set_fact: {{value: true}}}}
          - {{name: back, type: goto, goto: {{step_name: mail}}}}
          - {{name: other, type: email, {mail} too}}}}
          - {{name: last, type: email, {mail} at last}}}}
          - {{name: stop, type: email, {mail}}}}}
    """)
    assert run.status == "failed"
    resumed = flows("runs", "resume", run.outcome.run.id)
    assert resumed.code == 0, resumed.err
    server.kill()
    first, second, jumped, other, last, dropped, after_resume = server.stdout.read().split()
    assert (first, dropped) == (second, after_resume)
    assert len({first, jumped, other, last, dropped}) == 5
    assert run.result["mail"]["message_id"] == jumped
    assert all(each.endswith("@example.org>") for each in (first, jumped))


@pytest.mark.parametrize(
    ("manners", "attempts"),
    [
        (["closed", "421", "EHLO", "MAIL:451", "RCPT:450", "DATA:452", "DATA", "taken"], 8),
        (["closed", "MAIL:550", "taken"], 2),
        (["RCPT:550", "taken"], 1),
    ],
    ids=["temporary", "then for good", "for good"],
)
def test_a_mail_is_tried_again_after_a_dropped_connection_or_a_temporary_refusal(run_flow, smtp, manners, attempts):
    smtp(*manners)
    run = run_flow("""
        steps:
          - name: mail
            type: email
            retry: {attempts: 9, delay: 0}
            email: {secret: smtp, to: ops@example.org, subject: x, body: y}
    """)
    if manners[attempts - 1] == "taken":
        assert run.status == "success", run.message
        assert run.log.count("the next follows in") == attempts - 1
    else:
        assert run.errors[0]["error"]["attempts"] == attempts
