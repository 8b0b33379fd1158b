"""Secrets that an encoder has broken over several lines, as `base64` does after 76 characters."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: A line that continues in the next one has at least this length; encoders write 60, 64 or 76 characters.
SHORTEST_LINE = 40
#: How many characters of a text must be there if it may continue in a line that is not known yet.
SHORTEST_START = 4
#: The characters of base64 and hexadecimal.
SIGNS = "A-Za-z0-9+/=_-"
#: Ends of lines, also as JSON writes them inside a text.
LINE_END = r"((?:\\r)?\\n|\r?\n)"


def is_encoded(text: str) -> bool:
    """Return whether a masked text can be in the output of an encoder that breaks lines."""
    import re

    return len(text) >= 2 * SHORTEST_START and re.fullmatch(f"[{SIGNS}]+", text) is not None


def mask_wrapped(text: str, encoded: Sequence[str], sign: str, before: str = "") -> str:
    """Return a text with `sign` for the parts of encoded secrets that continue in another line.

    `before` is the line before the text, which was masked already.
    """
    import re

    if not re.search(rf"[{SIGNS}]{{{SHORTEST_LINE},}}(?:\s*\Z|\s*\n|\\r|\\n)", f"{before}\n{text}"):
        return text
    # Lines at even positions, what ends them at odd ones.
    parts = re.split(LINE_END, text)
    lines = [before, *parts[::2]]
    spans: list[list[tuple[int, int]]] = [[] for _ in lines]
    for run in _runs(lines):
        whole = "".join(lines[line][start:end] for line, start, end in run)
        reaches_end = run[-1][2] == len(lines[run[-1][0]].rstrip()) and run[-1][2] - run[-1][1] >= SHORTEST_LINE
        for each in encoded:
            place = whole.find(each)
            while place >= 0:
                _mark(run, place, place + len(each), spans)
                place = whole.find(each, place + 1)
            if reaches_end and each[:SHORTEST_START] in whole[-len(each) :]:
                for length in range(min(len(each) - 1, len(whole)), SHORTEST_START - 1, -1):
                    if whole.endswith(each[:length]):
                        _mark(run, len(whole) - length, len(whole), spans)
                        break
    parts[::2] = [_replaced(line, found, sign) for line, found in zip(lines[1:], spans[1:], strict=True)]
    return "".join(parts)


def _runs(lines: list[str]) -> Iterator[list[tuple[int, int, int]]]:
    """Yield the parts of consecutive lines that an encoder may have written as one: line, start and end of each."""
    import re

    run: list[tuple[int, int, int]] = []
    for number, line in enumerate(lines):
        stripped = line.rstrip()
        first = re.match(rf"\s*([{SIGNS}]+)", stripped)
        if run and first is not None:
            run.append((number, first.start(1), first.end(1)))
            if first.end(1) == len(stripped) and len(first[1]) >= SHORTEST_LINE:
                continue
        if run:
            yield run
            run = []
        last = re.search(rf"([{SIGNS}]{{{SHORTEST_LINE},}})$", stripped)
        if last is not None:
            run = [(number, last.start(1), last.end(1))]
    if run:
        yield run


def _mark(run: list[tuple[int, int, int]], begin: int, end: int, spans: list[list[tuple[int, int]]]) -> None:
    """Note which parts of the lines a place in a run covers."""
    offset = 0
    for line, start, stop in run:
        size = stop - start
        first, last = max(begin, offset), min(end, offset + size)
        if first < last:
            spans[line].append((start + first - offset, start + last - offset))
        offset += size


def _replaced(line: str, spans: list[tuple[int, int]], sign: str) -> str:
    position, pieces = 0, []
    for start, end in sorted(spans):
        if start >= position:
            pieces += [line[position:start], sign]
        position = max(position, end)
    return "".join([*pieces, line[position:]])
