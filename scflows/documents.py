"""JSON and YAML text to values and back. Values are finite and have a bounded depth and size."""

from __future__ import annotations

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

#: Levels of nesting; well below the depth at which Python or the C parsers run out of stack.
MAX_DEPTH = 200
#: How many values the aliases of a YAML text may add. A few lines of nested aliases can expand to billions.
MAX_ALIASED = 200_000
#: The most digits of an integer that Python converts from or to text by default.
MAX_DIGITS = 4300
#: The largest exponent of an integer, such as 1e30.
MAX_EXPONENT = 400


def parse_json(text: str, where: str) -> Any:
    """Return the value of a JSON text. Raises StepError whose message starts with `where`."""
    return _json(text, where, several=False)


def received_value(content: bytes, where: str, as_text: bool = False) -> Any:
    """Return what a message contains: the value of its JSON, otherwise its text.

    Raises StepError, whose message starts with `where`, for JSON with a number that cannot be held exactly.
    """
    text = content.decode("utf-8", "backslashreplace")
    if as_text:
        return text
    try:
        return parse_json(text, where)
    except InexactNumber as error:
        raise StepError(f"{error}; or receive text (parse: text)") from error
    except StepError:
        return text


def parse_json_lines(text: str, where: str) -> Any:
    """Do the same for a text that may hold several values, each on its own line; return the list of them."""
    return _json(text, where, several=True)


def json_text(value: Any) -> str:
    """Return a value as JSON on one line. Raises StepError for values that JSON cannot represent."""
    import json

    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        reason = f"an integer of more than {MAX_DIGITS} digits" if "digits" in str(error) else "NaN or Infinity"
        raise StepError(f"JSON cannot represent {reason}") from None
    except RecursionError:
        raise StepError("nested too deeply for JSON") from None
    except TypeError as error:
        raise StepError(f"JSON cannot represent this: {error}") from None


def json_bytes(value: Any) -> bytes:
    """Return a value as JSON in UTF-8. A lone surrogate, which UTF-8 cannot hold, becomes its JSON escape."""
    return json_text(value).encode("utf-8", "backslashreplace")


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text: null if it is empty, a list if it has several documents.

    Only plain tags are accepted. Dates become dates, keys may be of any kind. Raises StepError whose message
    starts with `where`.
    """
    import yaml

    loader = yaml_loader()
    try:
        _measure(text, loader, where)
        documents = list(yaml.load_all(text, Loader=loader))
        _refuse_infinite(documents, where)
    except yaml.YAMLError as error:
        raise StepError(f"{where}: YAML: {_yaml_reason(error)}") from None
    except RecursionError:
        raise StepError(f"{where}: YAML: nested too deeply") from None
    except (ValueError, TypeError, OverflowError) as error:
        # `2024-13-45` looks like a date but is not; a list as a key is a TypeError.
        raise StepError(f"{where}: YAML: invalid value: {error}") from None
    return documents if len(documents) > 1 else documents[0] if documents else None


_loader: Any = None


def yaml_loader() -> Any:
    """Return PyYAML's safe loader; here a number that cannot be held exactly is an error, and such a time is text."""
    global _loader
    if _loader is None:
        _loader = _exact_loader()
    return _loader


def _exact_loader() -> Any:
    import yaml

    # If PyYAML was built without libyaml, the slow loader does the same.
    usual: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Exact(usual):  # type: ignore[misc]
        def construct_float(self, node: Any) -> Any:
            text = node.value.replace("_", "").lower()
            # Base 60 as in 1:30.5, .inf and .nan; and what is refused as infinite.
            if ":" in text or "n" in text or float(text) in (float("inf"), float("-inf")):
                return self.construct_yaml_float(node)
            try:
                return parse_finite(text)
            except NumberError as error:
                raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None

        def construct_time(self, node: Any) -> Any:
            time = self.construct_yaml_timestamp(node)
            fraction = node.value.partition(".")[2]
            digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
            if not digits[6:].strip("0"):
                return time
            # More digits than a datetime holds.
            text = time.replace(microsecond=0).isoformat()
            return f"{text[:19]}.{digits}{text[19:]}"

    Exact.add_constructor("tag:yaml.org,2002:float", Exact.construct_float)
    Exact.add_constructor("tag:yaml.org,2002:timestamp", Exact.construct_time)
    return Exact


def yaml_text(value: Any) -> str:
    """Return a value as one YAML document in block style, without aliases. Raises StepError."""
    import yaml

    class Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_float(self, data: float) -> Any:
            if data - data != 0:
                raise StepError("a flow's data cannot hold NaN or Infinity")
            return super().represent_float(data)

    Plain.add_representer(float, Plain.represent_float)
    try:
        text: str = yaml.dump(
            value,
            Dumper=Plain,
            default_flow_style=False,
            allow_unicode=True,
            sort_keys=False,
            width=1_000_000_000,
        )
    except RecursionError:
        raise StepError("nested too deeply for YAML") from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise StepError(f"YAML cannot represent this: {' '.join(str(error).split())}") from None
    # PyYAML adds a needless `...` after a single scalar.
    return text.removesuffix("...\n")


def yaml_events(text: str, loader: Any) -> Iterator[Any]:
    """Yield the parser's events. Raises YAMLError.

    The parser reads ahead, so it may fail (a syntax error, a limit of its own) before it has returned all that comes
    before that place. The collections that open and close there are yielded first, so that a caller that counts levels
    decides by its own limit, whatever the library's limit is.
    """
    import yaml

    yielded = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            yield event
            yielded += 1
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        if mark is not None:
            yield from _later_collections(text[: mark.index], loader, yielded)
        raise


def decode(content: bytes, where: str) -> str:
    """Decode UTF-8, without a byte order mark. Raises StepError whose message starts with `where`."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise StepError(f"{where}: not UTF-8 (line {line})") from None


def path_to(value: Any, is_wanted: Callable[[Any], bool]) -> str:
    """Return ` at .rows[2].name`, the place of the first value or key that is wanted; an empty text without a place."""
    place = _place(value, is_wanted)
    return f" at {place}" if place else ""


def _place(value: Any, is_wanted: Callable[[Any], bool]) -> str | None:
    if not isinstance(value, dict | list):
        return "" if is_wanted(value) else None
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        step = f".{key}" if isinstance(value, dict) else f"[{key}]"
        below = "" if is_wanted(key) else _place(item, is_wanted)
        if below is not None:
            return step + below
    return None


def has_half_character(value: Any) -> bool:
    """Return whether a text has a lone surrogate, which UTF-8 cannot hold."""
    return isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value)


def _json(text: str, where: str, several: bool) -> Any:
    import json

    decoder = json.JSONDecoder(parse_constant=reject_constant, parse_float=parse_finite)
    values: list[Any] = []
    position = 0
    try:
        while not values or position < len(text):
            value, position = decoder.raw_decode(text, _skip_blanks(text, position))
            values.append(value)
            after = _skip_blanks(text, position)
            if after < len(text) and not (several and "\n" in text[position:after]):
                raise json.JSONDecodeError("unexpected text after the value", text, after)
            position = after
    except json.JSONDecodeError as error:
        if not text.strip():
            raise StepError(f"{where}: empty, not JSON") from None
        location = f"line {error.lineno}, column {error.colno}"
        raise StepError(f"{where}: invalid JSON: {error.msg} ({location})") from None
    except NumberError as error:
        before = text[: text.find(error.text, position)]
        location = f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
        raise InexactNumber(f"{where}: JSON: {error} ({location})") from None
    except ValueError as error:
        raise StepError(f"{where}: invalid JSON: {error}") from None
    except RecursionError:
        raise StepError(f"{where}: JSON: nested too deeply") from None
    content = values if len(values) > 1 else values[0]
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(content):
        raise StepError(f"{where}: JSON: nested more than {MAX_DEPTH} levels deep")
    return content


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\n\r":
        position += 1
    return position


def reject_constant(word: str) -> Any:
    """Raise ValueError for `NaN` and `Infinity`; a `parse_constant` for `json`."""
    raise ValueError(f"{word} is not a JSON value")


def parse_finite(text: str) -> float:
    """Return the number. Raises NumberError if a float cannot hold it; a `parse_float` for `json`.

    A decimal is held if the float, printed with as many digits or as Python shows it, is that decimal.
    """
    number = float(text)
    if number - number != 0:
        raise NumberError(text, "is too large for a number")
    if (len(text) > 16 or -1e-290 < number < 1e-290) and repr(number) != text and not _is_held(text, number):
        raise NumberError(text, "has more digits than a number can hold; put it into quotes")
    return number


def parse_number(text: str) -> int | float:
    """Return the number that a person or a table wrote. Raises ValueError, NumberError if a float cannot hold it."""
    # Python also accepts 1_000, the digits of other scripts, and words such as nan.
    if text.strip("+-.0123456789eE"):
        raise ValueError(text)
    return int(text) if text.lstrip("+-").isdigit() else parse_finite(text)


def parse_integer(text: str) -> int:
    """Return an integer, also of a text such as 1e3 or 5.0. Raises ValueError."""
    if text.strip("+-.0123456789eE"):
        raise ValueError(text)
    if text.lstrip("+-").isdigit():
        return int(text)
    from decimal import Decimal, InvalidOperation

    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    # Not as a float, which would round 12345678901234567.0.
    if number.adjusted() > MAX_EXPONENT or number != number.to_integral_value():
        raise ValueError(text)
    return int(number)


class InexactNumber(StepError):
    """A text holds a number that a flow's data cannot hold exactly."""


class NumberError(ValueError):
    """A number that a flow's data cannot hold exactly."""

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        super().__init__(f"{text if len(text) <= 60 else text[:59] + '…'} {reason}")


def _is_held(text: str, number: float) -> bool:
    from decimal import Decimal

    digits = text.lower().partition("e")[0].lstrip("+-").replace(".", "").strip("0")
    # No float has more digits than 767.
    if not digits or len(digits) > 800:
        return not digits
    # The shortest digits of a number may be one of two that are equally near: 2 ** -24 is 5.960464477539063e-08.
    return Decimal(text) in (Decimal(repr(number)), Decimal(f"{number:.{len(digits) - 1}e}"))


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def _measure(text: str, loader: Any, where: str) -> None:
    """Refuse text that would exhaust the parser's stack or the memory. Reading events costs a tenth of a load."""
    import yaml

    opening = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
    closing = (yaml.SequenceEndEvent, yaml.MappingEndEvent)
    sizes: dict[str, int] = {}
    counts: list[tuple[str | None, int]] = []  # for each open collection: its anchor, the values before it
    count = aliased = 0
    for event in yaml_events(text, loader):
        if isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, opening):
            counts.append((event.anchor, count))
            if event.anchor:
                sizes.pop(event.anchor, None)
            count += 1
            if len(counts) > MAX_DEPTH:
                location = _location(event.start_mark)
                raise StepError(f"{where}: YAML: nested more than {MAX_DEPTH} levels deep{location}")
        elif isinstance(event, closing):
            anchor, before = counts.pop()
            if anchor:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(str(event.anchor), 0)
            if not size and any(anchor == event.anchor for anchor, _ in counts):
                raise StepError(f"{where}: YAML: the alias *{event.anchor} refers to itself")
            count += size
            aliased += size
            if aliased > MAX_ALIASED:
                raise StepError(f"{where}: YAML: its aliases add more than {MAX_ALIASED} values")


def _later_collections(text: str, loader: Any, skipped: int) -> Iterator[Any]:
    """Yield the events that open and close collections, without the first `skipped` events, up to an error."""
    import yaml

    try:
        for number, event in enumerate(yaml.parse(text, Loader=loader)):
            if number >= skipped and isinstance(event, yaml.CollectionStartEvent | yaml.CollectionEndEvent):
                yield event
    except yaml.YAMLError:
        return


def _refuse_infinite(value: Any, where: str) -> None:
    if isinstance(value, float) and value - value != 0:
        raise StepError(f"{where}: YAML: a flow's data cannot hold NaN or Infinity")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, float | dict | list):
                _refuse_infinite(item, where)


def _yaml_reason(error: Any) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    problem = " ".join(str(problem).split())
    problem = problem.replace("could not determine a constructor for the tag", "unknown tag")
    return f"{problem}{_location(mark)}" if mark else problem


def _location(mark: Any) -> str:
    return f" (line {mark.line + 1}, column {mark.column + 1})"
