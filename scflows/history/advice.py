"""What to do about a history that cannot be read or written."""

from __future__ import annotations

import os

#: https://www.sqlite.org/rescode.html
BUSY = (5, 6)
NOT_OURS = (3, 8, 14)
NO_ROOM = (10, 13)
DAMAGED = (11, 26)


def advice(path: str, error: Exception) -> str:
    """What helps against an error of SQLite's, or of the system's, with the file at `path`."""
    from shlex import quote

    folder = os.path.dirname(path)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    told = str(error)
    if code in DAMAGED or told.startswith("malformed"):
        # A log of SQLite's that stays behind would be played into the new file.
        aside = quote(os.path.join(folder, "broken-history"))
        return f"put it away, a new one is begun: mkdir -p {aside}; mv {quote(path)}* {aside}"
    if code in NO_ROOM or getattr(error, "errno", 0) == 28:
        return f"make room, or see whether the disk is sound: df -h {quote(folder)}"
    if code in BUSY:
        return f"another program holds it; see who: fuser {quote(path)}"
    if code in NOT_OURS or isinstance(error, PermissionError):
        return f"see who owns it and its folder: ls -ld {quote(folder)} {quote(path)}"
    return "see: flows check"
