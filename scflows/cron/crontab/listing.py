"""Reading the exact bytes of a crontab for which `crontab -l`, for example Debian's, replaces some of them.

Editors get the exact bytes. So `crontab -e` is called with an editor that saves a copy and changes nothing.
"""

from __future__ import annotations

import os

from scflows.errors import Refused

#: What Debian's `crontab -l` prints instead of a carriage return and a backspace.
REPLACED = {b"\r": rb"\r", b"\b": rb"\b"}
#: How long the program may take, in seconds.
LIMIT = 60
ADVICE = r"remove them: crontab -l | sed 's/\\[rb]//g' | crontab -; check before with: crontab -l"


def is_ambiguous(shown: bytes) -> bool:
    """Return whether the output of `crontab -l` may have replaced bytes."""
    return any(sign in shown for sign in REPLACED.values())


def exact_content(program: str, user: str, shown: bytes) -> bytes:
    """Return the exact crontab, given the output of `crontab -l`. Raises Refused if it cannot be determined."""
    import shlex
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="scflows-") as folder:
        editor, copy = os.path.join(folder, "editor"), os.path.join(folder, "copy")
        with open(editor, "w", encoding="utf-8") as file:
            file.write(f'cat "$1" > {shlex.quote(copy)}\n')
        command = f"/bin/sh {shlex.quote(editor)}"
        try:
            done = subprocess.run(
                [program, "-e"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LIMIT,
                env={**os.environ, "LC_ALL": "C", "VISUAL": command, "EDITOR": command},
            )
            with open(copy, "rb") as found:
                content = found.read()
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unknown(user, str(error)) from error
    if as_shown(content) != as_shown(shown):
        raise _unknown(user, done.stderr.decode("utf-8", "replace").strip() or "it differs from crontab -l")
    return content


def as_shown(content: bytes) -> bytes:
    """Return a crontab as Debian's `crontab -l` prints it."""
    for byte, sign in REPLACED.items():
        content = content.replace(byte, sign)
    return content


def _unknown(user: str, why: str) -> Refused:
    reason = " ".join(why.split())
    return Refused(
        f"the crontab of {user} has \\r or \\b, which may stand for a carriage return or a backspace in crontab -l,"
        f" and crontab -e cannot clarify it: {reason}",
        ADVICE,
    )
