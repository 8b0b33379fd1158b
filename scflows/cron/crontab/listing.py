"""The bytes of a crontab of which `crontab -l` shows some otherwise than they are, as Debian's does.

An editor is given them as they are; so one is named to `crontab -e` that keeps a copy and changes nothing.
"""

from __future__ import annotations

import os

from scflows.errors import Refused

#: What Debian's `crontab -l` shows in the place of a carriage return and of a backspace.
SHOWN = {b"\r": rb"\r", b"\b": rb"\b"}
#: How long it may take, in seconds.
LIMIT = 60
ADVICE = r"write the file without them: crontab -l | sed 's/\\[rb]//g' | crontab -; see first: crontab -l"


def may_be_another(shown: bytes) -> bool:
    """Whether what is shown may stand for something else."""
    return any(sign in shown for sign in SHOWN.values())


def exact(program: str, user: str, shown: bytes) -> bytes:
    """The crontab that `crontab -l` shows so. Raises Refused when it cannot be told."""
    import shlex
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="scflows-") as folder:
        editor, copy = os.path.join(folder, "editor"), os.path.join(folder, "copy")
        with open(editor, "w", encoding="utf-8") as file:
            file.write(f'cat "$1" > {shlex.quote(copy)}\n')
        named = f"/bin/sh {shlex.quote(editor)}"
        try:
            done = subprocess.run(
                [program, "-e"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LIMIT,
                env={**os.environ, "LC_ALL": "C", "VISUAL": named, "EDITOR": named},
            )
            with open(copy, "rb") as found:
                content = found.read()
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unknown(user, str(error)) from error
    if as_shown(content) != as_shown(shown):
        raise _unknown(user, done.stderr.decode("utf-8", "replace").strip() or "it is not what crontab -l shows")
    return content


def as_shown(content: bytes) -> bytes:
    """A crontab as Debian's `crontab -l` shows it."""
    for byte, sign in SHOWN.items():
        content = content.replace(byte, sign)
    return content


def _unknown(user: str, why: str) -> Refused:
    reason = " ".join(why.split())
    return Refused(
        f"the crontab of {user} has \\r or \\b, by which crontab -l may mean a carriage return or a backspace,"
        f" and crontab -e does not tell: {reason}",
        ADVICE,
    )
