"""Send an email."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import EmailMessage
    from typing import Any

#: The default port for each value of `security`.
PORTS = {"starttls": 587, "tls": 465, "none": 25}
#: Seconds to wait for each response of the server.
TIMEOUT = 30.0


@dataclass(frozen=True)
class EmailStep(Step):
    """Send an email with the text of `body` or of a template file.

    The secret has `host` and optionally `port`, `username`, `password`, `from`, `ca_file` and `security`: `starttls`
    (the default), `tls` (on port 465), or `none`. Certificates are verified. The result lists the recipients that the
    server refused; the step fails if it refused all of them.

    - name: mail the report
      type: email
      email:
        secret: smtp
        to: [ops@example.org]
        subject: "Report of {{ __slot__[:10] }}"
        body: "{{ rows | length }} rows, see the file."
        attach: [output/day.csv]
    """

    secret: str = option(help="name of the secret with the server and credentials")
    to: list[Any] | str = option(template=True, help="addresses: a list, or text separated by commas")
    subject: str = option(template=True, help="a single line")
    body: str | None = option(None, template=True, help="the text of the message")
    template: str | None = option(None, help="a template file for the text, as for `jinja`")
    data_key: str = option(".", help="the data for the template file")
    cc: list[Any] | str | None = option(None, template=True, help="addresses, as for `to`")
    bcc: list[Any] | str | None = option(None, template=True, help="addresses hidden from the other recipients")
    sender: str | None = option(
        None, template=True, help="sender address (default: `from` or `username` of the secret)"
    )
    reply_to: str | None = option(None, template=True, help="address for replies")
    format: str = option("text", choices=("text", "html"))
    attach: list[Any] | None = option(None, template=True, help="files in DATA_PATH")
    max_bytes: int = option(20 * 1024 * 1024, minimum=1, help="maximum total size of the files")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Any:
        if (options.get("body") is None) == (options.get("template") is None):
            yield "body", "set either `body` or `template`"

    def writes(self) -> bool:
        return True

    def intention(self) -> str:
        to = self.to if isinstance(self.to, str) else ", ".join(str(each) for each in self.to)
        return f"send {self.subject!r} to {to}"

    def dry_result(self) -> Any:
        return {"message_id": None, "refused": []}

    def run(self, ctx: Context) -> Any:
        secret = ctx.secret(self.secret)
        if "host" not in secret:
            raise StepError(f"secret {self.secret!r} has no field 'host'")
        sender = self.sender or _field(secret, "from") or _field(secret, "username")
        if not sender:
            raise StepError(f"no sender: set `sender`, or `from` in the secret {self.secret!r}")
        senders = _addresses("sender", sender)
        recipients = [address for name in ("to", "cc", "bcc") for address in _addresses(name, getattr(self, name))]
        if not recipients:
            raise StepError("no recipients: set `to`, `cc` or `bcc`")
        message = self._message(ctx, sender, senders[0])
        refused = _send(message, senders[0], list(dict.fromkeys(recipients)), secret, ctx)
        if refused:
            ctx.log.warning(f"refused by the server: {', '.join(refused)}")
        return {"message_id": message["Message-ID"], "refused": refused}

    def _message(self, ctx: Context, sender: str, address: str) -> EmailMessage:
        from email.message import EmailMessage
        from email.utils import localtime
        from hashlib import sha256

        message = EmailMessage()
        headers = {"From": sender, "To": self.to, "Cc": self.cc, "Reply-To": self.reply_to, "Subject": self.subject}
        for name, value in headers.items():
            text = ", ".join(_texts(name, value))
            if text:
                message[name] = _single_line(name, text)
        message["Date"] = localtime()
        # Prevents automatic replies such as out-of-office messages (RFC 3834).
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(_readable(self._text(ctx)), subtype="plain" if self.format == "text" else "html", cte=None)
        contents = [str(message[name]) for name in headers if name in message] + [message.get_content()]
        remaining_bytes = self.max_bytes
        for path in _texts("attach", self.attach):
            content = _read_file(ctx.readable(path), path, remaining_bytes)
            remaining_bytes -= len(content)
            contents.append(f"{path} {sha256(content).hexdigest()}")
            main, sub = _media_type(path)
            message.add_attachment(content, maintype=main, subtype=sub, filename=os.path.basename(path))
        message["Message-ID"] = f"<{_message_id(ctx, contents)}@{address.rpartition('@')[2]}>"
        return message

    def _text(self, ctx: Context) -> str:
        if self.template is None:
            return self.body or ""
        return ctx.expressions.render_file(self.template, ctx.template_names(self.data_key))


def _message_id(ctx: Context, contents: list[str]) -> str:
    """Return what identifies a message, the same for each attempt, also of a run that resumes this one.

    The server may have taken a message although the connection was dropped; receivers then recognise the second one.
    A message that a step sends again on purpose is a new one.
    """
    from hashlib import sha256
    from json import dumps

    run, flow, item = (ctx.data.get(name) for name in ("__job_id__", "__flow_path__", "__loop_index__"))
    digest = sha256(dumps([run, flow, item, ctx.step_index, ctx.step_name, contents]).encode()).hexdigest()[:32]
    if ctx.attempts.get("message") != digest:
        ctx.attempts["message"] = digest
        sent: list[str] = ctx.shared.setdefault("messages", [])
        sent.append(digest)
        ctx.attempts["number"] = sent.count(digest)
    return f"{digest}.{ctx.attempts['number']}"


def _send(message: EmailMessage, sender: str, recipients: list[str], secret: Any, ctx: Context) -> list[str]:
    """Send the message; return the refused recipients. Raise StepError if the server accepted none."""
    import smtplib

    host, security = str(secret["host"]), _security(secret)
    port = _port(secret, security)
    server_name = f"mail server {host}:{port}"
    timeout = ctx.call_timeout(TIMEOUT)
    try:
        context = _tls(secret) if security != "none" else None
        server = (
            smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
            if security == "tls"
            else smtplib.SMTP(host, port, timeout=timeout)
        )
        with server:
            if security == "starttls":
                server.starttls(context=context)
            if _field(secret, "username") and _field(secret, "password"):
                if security == "none":
                    ctx.log.warning(f"{server_name}: the password is sent unencrypted; set `security` in the secret")
                _log_in(server, str(secret["username"]), str(secret["password"]))
            refused = server.send_message(message, sender, recipients)
    except smtplib.SMTPRecipientsRefused as error:
        refusals = "; ".join(f"{address}: {_reply(*answer)}" for address, answer in error.recipients.items())
        failure = StepError(f"{server_name}: every recipient was refused: {refusals}", refused=sorted(error.recipients))
        failure.is_temporary = any(_is_temporary(code) for code, _ in error.recipients.values())
        raise failure from error
    except smtplib.SMTPResponseException as error:
        failure = StepError(f"{server_name}: {_reply(error.smtp_code, error.smtp_error)}")
        # A connection that is dropped instead of a greeting has the code -1.
        failure.is_temporary = _is_temporary(error.smtp_code) or error.smtp_code == -1
        raise failure from error
    except smtplib.SMTPServerDisconnected as error:
        failure = StepError(f"{server_name}: {str(error) or 'the connection was dropped'}")
        failure.is_temporary = True
        raise failure from error
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise StepError(f"{server_name}: {str(error) or type(error).__name__}") from error
    return sorted(refused)


def _is_temporary(code: int) -> bool:
    """Return True for a reply that asks to try again later (RFC 5321, 4.2.1)."""
    return 400 <= code <= 499


def _log_in(server: Any, username: str, password: str) -> None:
    if username.isascii() and password.isascii():
        server.login(username, password)
        return
    # smtplib supports ASCII only, and its error would reveal a character of the password.
    from base64 import b64encode
    from smtplib import SMTPAuthenticationError

    server.ehlo_or_helo_if_needed()
    code, answer = server.docmd("AUTH", "PLAIN " + b64encode(f"\0{username}\0{password}".encode()).decode("ascii"))
    if code != 235:
        raise SMTPAuthenticationError(code, answer)


def _security(secret: Any) -> str:
    given = _field(secret, "security")
    if not given:
        return "tls" if _field(secret, "port") == "465" else "starttls"
    if given not in PORTS:
        raise StepError(f"`security` in the secret must be one of {', '.join(PORTS)}, not {given!r}")
    return given


def _port(secret: Any, security: str) -> int:
    given = _field(secret, "port")
    if not given:
        return PORTS[security]
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise StepError("`port` in the secret must be a number from 1 to 65535")
    return int(given)


def _tls(secret: Any) -> Any:
    import ssl

    return ssl.create_default_context(cafile=_field(secret, "ca_file") or None)


def _field(secret: Any, name: str) -> str:
    return str(secret[name]) if name in secret and secret[name] is not None else ""


def _reply(code: int, answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return f"{code} {' '.join(text.split())}"


def _texts(name: str, value: Any) -> list[str]:
    """Return the values of an option as a list of texts."""
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    for each in items:
        if not isinstance(each, str):
            raise StepError(f"{name} must be text, not {each!r}")
    return [each for each in items if each.strip()]


def _single_line(name: str, text: str) -> str:
    """Return the text if it is a single line; line breaks would add headers. Raise StepError otherwise."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise StepError(f"{name.lower()} must be one line without control characters")
    return text


def _readable(text: str) -> str:
    """Return a text whose control characters are visible, because a terminal that shows the mail would obey them."""
    import re

    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def _addresses(name: str, value: Any) -> list[str]:
    """Return the bare addresses of an option. Raise StepError for an invalid one."""
    from email.utils import getaddresses

    texts = [_single_line(name, text) for text in _texts(name, value)]
    found = []
    for _, address in getaddresses(texts):
        local, at, domain = address.rpartition("@")
        if not (local and at and domain) or any(each in address for each in " <>,;") or "@" in local.strip('"'):
            raise StepError(f"{name}: {', '.join(texts)!r} contains an invalid address")
        found.append(address)
    return found


def _read_file(file: str, path: str, remaining_bytes: int) -> bytes:
    try:
        if os.path.getsize(file) > remaining_bytes:
            raise StepError(f"{path}: the attachments exceed max_bytes")
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise StepError(f"{path}: {error.strerror}") from error


def _media_type(path: str) -> tuple[str, str]:
    from mimetypes import guess_type

    guessed, encoding = guess_type(path)
    main, _, sub = (guessed if guessed and not encoding else "application/octet-stream").partition("/")
    return main, sub
