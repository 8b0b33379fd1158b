"""Validation of parsed YAML: the kinds of values in words, and a document that knows where each key is."""

from __future__ import annotations

from scflows.errors import FlowError, Mistake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


KIND_WORDS = {
    "text": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "mapping": "a mapping",
    "null": "null",
    "duration": "a duration such as 90, 30s or 15m",
}
#: The units of durations, in seconds.
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def fits(value: Any, kinds: tuple[str, ...]) -> bool:
    """Return whether a value is of one of these kinds; an integer is a number too, and each number a duration."""
    kind = kind_word(value)
    if kind in kinds or (kind == "integer" and "number" in kinds):
        return True
    return "duration" in kinds and duration_seconds(value) is not None


def duration_seconds(value: Any) -> float | None:
    """Return the seconds of a number or a text such as `90`, `45s`, `1.5h`, `7d`, `2w`; None if it is not a duration.

    A number stays as it is, also one that is negative.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    word = value.strip().lower()
    unit = UNITS.get(word[-1:])
    number = word if unit is None else word[:-1].rstrip()
    if not number.isascii() or not number.replace(".", "", 1).isdigit() or len(number) > 12:
        return None
    seconds = float(number) * (unit or 1)
    return int(seconds) if seconds.is_integer() else seconds


def kind_word(value: Any) -> str:
    """Return the kind of a value: a key of KIND_WORDS, or the name of its type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, list):
        return "list"
    if isinstance(value, dict):
        return "mapping"
    return "text" if isinstance(value, str) else type(value).__name__


def described(value: Any) -> str:
    """Describe a value for messages: `text ('x')`."""
    word = kind_word(value)
    shown = repr(value)
    known = KIND_WORDS.get(word, f"a {word}")
    if word == "null":
        return "null"
    if word == "boolean":
        return "true" if value else "false"
    return known + (f" ({shown})" if len(shown) <= 40 and word not in ("list", "mapping") else "")


def texts(value: Any) -> Iterable[str]:
    """Yield every text in a value, but not the keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `did you mean 'x'?` with the most similar known name, or an empty text."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1, cutoff)
    return f"did you mean {near[0]!r}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` with the most similar known name, or an empty text."""
    near = did_you_mean(name, known)
    return f"; {near}" if near else ""


#: Limits of a flow file: bytes, nodes after its aliases are expanded, levels of nesting.
MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 60
#: As the name of a property, `on` is a text: in YAML 1.1 it is true without quotes.
ON = "on"
BOOLEAN = "tag:yaml.org,2002:bool"


class Located:
    """A parsed YAML document: its `value`, the position of each key in it, and its `root` node, None if it is empty."""

    def __init__(self, text: bytes, path: str) -> None:
        """Parse a text. Raises FlowError for invalid YAML: bad syntax, unknown tags, alias bombs, loops."""
        self.path = path
        self.mistakes: list[Mistake] = []
        self.root = self._compose(text)
        self.value = self._construct() if self.root is not None else None

    def mistake(self, message: str, *keys: str | int, severity: str = "error") -> None:
        """Add a mistake at the key that `keys` lead to, or at its nearest parent that exists."""
        line, column = self.place(*keys)
        self.mistakes.append(Mistake(self.path, message, line, column, severity))

    def place(self, *keys: str | int) -> tuple[int, int]:
        """Return line and column, from 1, of the key in a mapping or the item in a list that `keys` lead to."""
        node, mark = self.root, None
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            node, mark = found
        mark = mark or (node.start_mark if node is not None else None)
        return (mark.line + 1, mark.column + 1) if mark else (1, 1)

    def typed(
        self,
        mapping: dict[Any, Any],
        key: str,
        kind: str,
        default: Any = None,
        title: str = "",
        at: tuple[str | int, ...] = (),
        least: float | None = None,
    ) -> Any:
        """Return the value of a key if it has the kind (and is at least `least`); otherwise add a mistake."""
        value = mapping.get(key)
        if value is None:
            return default
        subject = f"{title}: {key}" if title else key
        if not fits(value, (kind,)):
            self.mistake(f"{subject} must be {KIND_WORDS[kind]}, not {described(value)}", *at, key)
            return default
        if kind == "duration":
            value = duration_seconds(value) or 0
        if least is not None and not value >= least:
            self.mistake(f"{subject} must be {'more than 0' if least < 1 else f'at least {least:g}'}", *at, key)
            return default
        return value

    def warn_unknown(
        self, mapping: dict[Any, Any], known: Iterable[str], title: str = "", at: tuple[str | int, ...] = ()
    ) -> None:
        """Add a warning for each unknown key of a mapping."""
        for key in mapping:
            if key not in known:
                prefix = f"{title}: " if title else ""
                message = f"{prefix}unknown property {key!r} is ignored{nearest(str(key), known)}"
                self.mistake(message, *at, key, severity="warning")

    def _compose(self, text: bytes) -> Any:
        import yaml

        if len(text) > MAX_BYTES:
            raise FlowError([Mistake(self.path, f"larger than {MAX_BYTES // 1024 // 1024} MiB")])
        try:
            decoded = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = text[: error.start].count(b"\n") + 1
            raise FlowError([Mistake(self.path, "not UTF-8", line, 1)]) from error
        try:
            self._measure_depth(decoded)
            root = yaml.compose(decoded, Loader=_loader())
        except yaml.YAMLError as error:
            raise FlowError([_syntax(error, self.path, decoded)]) from error
        except RecursionError as error:
            raise FlowError([Mistake(self.path, "nested too deeply")]) from error
        if root is not None:
            self._measure(root)
        return root

    def _measure_depth(self, text: str) -> None:
        """Refuse text that is nested so deeply that the recursive parser would crash."""
        import yaml

        from scflows.documents import yaml_events

        depth = 0
        for event in yaml_events(text, _loader()):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    mark: Any = event.start_mark
                    raise FlowError([Mistake(self.path, "nested too deeply", mark.line + 1, mark.column + 1)])
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1

    def _measure(self, root: Any) -> None:
        """Refuse documents that grow without bound when aliases are expanded; report duplicate keys."""
        import yaml

        sizes: dict[int, int] = {}
        open_nodes: set[int] = set()

        def size(node: Any, depth: int) -> int:
            known = sizes.get(id(node))
            if known is not None:
                return known
            if id(node) in open_nodes or depth > MAX_DEPTH:
                reason = "nested too deeply" if depth > MAX_DEPTH else "an alias refers to itself"
                mark = node.start_mark
                raise FlowError([Mistake(self.path, reason, mark.line + 1, mark.column + 1)])
            open_nodes.add(id(node))
            total = 1
            if isinstance(node, yaml.MappingNode):
                self._report_duplicates(node)
                for key, item in node.value:
                    total += size(key, depth + 1) + size(item, depth + 1)
            elif isinstance(node, yaml.SequenceNode):
                for item in node.value:
                    total += size(item, depth + 1)
            open_nodes.discard(id(node))
            sizes[id(node)] = total
            if total > MAX_NODES:
                mark = node.start_mark
                reason = f"more than {MAX_NODES} values after expanding aliases"
                raise FlowError([Mistake(self.path, reason, mark.line + 1, mark.column + 1)])
            return total

        size(root, 0)

    def _report_duplicates(self, node: Any) -> None:
        seen = set()
        for key, _ in node.value:
            if key.tag == BOOLEAN and key.value == ON:
                key.tag = "tag:yaml.org,2002:str"
            if isinstance(key.value, str) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    mark = key.start_mark
                    reason = f"duplicate key {key.value!r}"
                    self.mistakes.append(Mistake(self.path, reason, mark.line + 1, mark.column + 1))
                seen.add(key.value)

    def _construct(self) -> Any:
        import yaml

        loader = _loader()("")
        try:
            return loader.construct_document(self.root)
        except yaml.YAMLError as error:
            raise FlowError([_syntax(error, self.path)]) from error
        except (ValueError, TypeError, OverflowError) as error:
            # `2024-13-45` looks like a date but is not; an unhashable key is a TypeError.
            raise FlowError(self._invalid_values() or [Mistake(self.path, f"invalid value: {error}")]) from error
        finally:
            loader.dispose()

    def _invalid_values(self) -> list[Mistake]:
        """Return a mistake for each text and key from which no value can be made."""
        found = {}
        pending = [self.root]
        while pending:
            node = pending.pop()
            if isinstance(node.value, str):
                if problem := _problem(node):
                    mark = node.start_mark
                    found[mark.line, mark.column] = Mistake(self.path, problem, mark.line + 1, mark.column + 1)
            elif node.id == "mapping":
                for key, item in node.value:
                    pending += [key, item]
            else:
                pending += node.value
        return [found[place] for place in sorted(found)]


def _problem(node: Any) -> str:
    """Return why no value can be made from a node without children, empty if it can."""
    loader = _loader()("")
    try:
        loader.construct_document(node)
    except (ValueError, TypeError, OverflowError) as error:
        return f"invalid value: {error}"
    finally:
        loader.dispose()
    return ""


def _child(node: Any, key: str | int) -> tuple[Any, Any] | None:
    if node is None or isinstance(node.value, str):
        return None
    if isinstance(key, int):
        if node.id == "sequence" and key < len(node.value):
            return node.value[key], node.value[key].start_mark
        return None
    if node.id == "mapping":
        for name, item in node.value:
            if name.value == key:
                return item, name.start_mark
    return None


#: What to do about errors of the YAML parser: a part of its message, a text on its line (or nothing), the remedy.
REMEDIES = (
    ("unhashable key", "", "a value that begins with {{ must be in quotes"),
    ("cannot start any token", "\t", "indent with blanks, not with tabs"),
    ("cannot start any token", "", "a value that begins with @, % or ` must be in quotes"),
    ("did not find expected alphabetic or numeric", "", "a value that begins with * or & must be in quotes"),
    ("mapping values are not allowed", "", "a value that contains a colon and a blank must be in quotes"),
    ("did not find expected", "{{", "a value that begins with {{ must be in quotes"),
)


def _syntax(error: Any, path: str, text: str = "") -> Mistake:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    problem = str(problem).replace("could not determine a constructor for the tag", "unknown tag")
    context = getattr(error, "context", None)
    message = f"{context}: {problem}" if context else problem
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    for part, sign, remedy in REMEDIES:
        if part in problem and sign in line:
            message += f"; {remedy}"
            break
    return Mistake(path, f"YAML: {message}", mark.line + 1 if mark else 1, mark.column + 1 if mark else 1)


def _loader() -> Any:
    from scflows.documents import yaml_loader

    return yaml_loader()
