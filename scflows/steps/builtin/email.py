"""Send a mail."""

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

#: The ports of the three ways to speak to a server.
PORTS = {"starttls": 587, "tls": 465, "none": 25}
#: Seconds that the server may take for one answer.
TIMEOUT = 30.0


@dataclass(frozen=True)
class EmailStep(Step):
    """Send a mail, its text from `body` or from a template file.

    The secret has `host` and, where they are wanted, `port`, `username`, `password`, `from`, `ca_file` and
    `security`: `starttls` (the default), `tls` (on port 465), or `none`. Certificates are verified. The result says
    who was refused by the server, unless that were all.

    - name: mail the report
      type: email
      email:
        secret: smtp
        to: [ops@example.org]
        subject: "Report of {{ __slot__[:10] }}"
        body: "{{ rows | length }} rows, see the file."
        attach: [output/day.csv]
    """

    secret: str = option(help="the name of the secret that has the server")
    to: list[Any] | str = option(template=True, help="addresses: a list, or a text with commas")
    subject: str = option(template=True, help="one line")
    body: str | None = option(None, template=True, help="the text")
    template: str | None = option(None, help="a template file for the text, as for jinja")
    data_key: str = option(".", help="what the template file is given")
    cc: list[Any] | str | None = option(None, template=True, help="addresses, as in `to`")
    bcc: list[Any] | str | None = option(None, template=True, help="addresses that the others do not see")
    sender: str | None = option(None, template=True, help="else the secret's `from`, or its username")
    reply_to: str | None = option(None, template=True, help="the address for answers")
    format: str = option("text", choices=("text", "html"))
    attach: list[Any] | None = option(None, template=True, help="files in DATA_PATH")
    max_bytes: int = option(20 * 1024 * 1024, minimum=1, help="the most that all files together may have")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Any:
        if (options.get("body") is None) == (options.get("template") is None):
            yield "body", "either `body` or `template` says what is sent"

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
            raise StepError(f"the secret {self.secret!r} has no field 'host'")
        sender = self.sender or _field(secret, "from") or _field(secret, "username")
        if not sender:
            raise StepError(f"nobody to send it from: give `sender`, or `from` in the secret {self.secret!r}")
        senders = _addresses("sender", sender)
        recipients = [address for name in ("to", "cc", "bcc") for address in _addresses(name, getattr(self, name))]
        if not recipients:
            raise StepError("nobody to send it to")
        message = self._message(ctx, sender, senders[0])
        refused = _send(message, senders[0], list(dict.fromkeys(recipients)), secret, ctx)
        if refused:
            ctx.log.warning(f"refused by the server: {', '.join(refused)}")
        return {"message_id": message["Message-ID"], "refused": refused}

    def _message(self, ctx: Context, sender: str, address: str) -> EmailMessage:
        from email.message import EmailMessage
        from email.utils import localtime, make_msgid

        message = EmailMessage()
        headers = {"From": sender, "To": self.to, "Cc": self.cc, "Reply-To": self.reply_to, "Subject": self.subject}
        for name, value in headers.items():
            text = ", ".join(_texts(name, value))
            if text:
                message[name] = _line(name, text)
        message["Date"] = localtime()
        message["Message-ID"] = make_msgid(domain=address.rpartition("@")[2])
        # Automatic answers, such as those of people on holiday, are not wanted.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self._text(ctx), subtype="plain" if self.format == "text" else "html", cte=None)
        left = self.max_bytes
        for path in _texts("attach", self.attach):
            content = _content(ctx.readable(path), path, left)
            left -= len(content)
            main, sub = _media_type(path)
            message.add_attachment(content, maintype=main, subtype=sub, filename=os.path.basename(path))
        return message

    def _text(self, ctx: Context) -> str:
        if self.template is None:
            return self.body or ""
        value = ctx.look(self.data_key)
        names = {"data": value, **(value if isinstance(value, dict) else {})}
        names.update({name: each for name, each in ctx.data.items() if name.startswith("__") and name.endswith("__")})
        return ctx.expressions.render_file(self.template, names)


def _send(message: EmailMessage, sender: str, recipients: list[str], secret: Any, ctx: Context) -> list[str]:
    """Hand the mail to the server; those it refused. Raises StepError when it took it for nobody."""
    import smtplib

    host, security = str(secret["host"]), _security(secret)
    port = _port(secret, security)
    where = f"mail server {host}:{port}"
    remaining = ctx.remaining()
    timeout = TIMEOUT if remaining is None else max(0.1, min(TIMEOUT, remaining))
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
                    ctx.log.warning(f"{where}: the password goes there unencrypted; set security in the secret")
                _log_in(server, str(secret["username"]), str(secret["password"]))
            refused = server.send_message(message, sender, recipients)
    except smtplib.SMTPRecipientsRefused as error:
        told = "; ".join(f"{address}: {_said(*answer)}" for address, answer in error.recipients.items())
        raise StepError(f"{where}: every recipient was refused: {told}", refused=sorted(error.recipients)) from error
    except smtplib.SMTPResponseException as error:
        raise StepError(f"{where}: {_said(error.smtp_code, error.smtp_error)}") from error
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise StepError(f"{where}: {str(error) or type(error).__name__}") from error
    return sorted(refused)


def _log_in(server: Any, username: str, password: str) -> None:
    if username.isascii() and password.isascii():
        server.login(username, password)
        return
    # The library knows ASCII only, and would show the letter it stumbles over.
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
        raise StepError(f"security in the secret is {given!r}; it may be {', '.join(PORTS)}")
    return given


def _port(secret: Any, security: str) -> int:
    given = _field(secret, "port")
    if not given:
        return PORTS[security]
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise StepError("port in the secret is no port")
    return int(given)


def _tls(secret: Any) -> Any:
    import ssl

    return ssl.create_default_context(cafile=_field(secret, "ca_file") or None)


def _field(secret: Any, name: str) -> str:
    return str(secret[name]) if name in secret and secret[name] is not None else ""


def _said(code: int, answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return f"{code} {' '.join(text.split())}"


def _texts(name: str, value: Any) -> list[str]:
    """What an option lists, as texts."""
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    for each in items:
        if not isinstance(each, str):
            raise StepError(f"{name} takes texts, not {each!r}")
    return [each for each in items if each.strip()]


def _line(name: str, text: str) -> str:
    """The text, if it is one line: more of them would be headers of their own."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise StepError(f"{name.lower()} must be one line without control characters")
    return text


def _addresses(name: str, value: Any) -> list[str]:
    """The bare addresses that an option gives. Raises StepError for what is none."""
    from email.utils import getaddresses

    texts = [_line(name, text) for text in _texts(name, value)]
    found = []
    for _, address in getaddresses(texts):
        local, at, domain = address.rpartition("@")
        if not (local and at and domain) or any(each in address for each in " <>,;") or "@" in local.strip('"'):
            raise StepError(f"{name}: {', '.join(texts)!r} has something in it that is no address")
        found.append(address)
    return found


def _content(file: str, path: str, left: int) -> bytes:
    try:
        if os.path.getsize(file) > left:
            raise StepError(f"{path}: the files are larger than max_bytes")
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise StepError(f"{path}: {error.strerror}") from error


def _media_type(path: str) -> tuple[str, str]:
    from mimetypes import guess_type

    guessed, encoding = guess_type(path)
    main, _, sub = (guessed if guessed and not encoding else "application/octet-stream").partition("/")
    return main, sub
