"""jq programs: no access to environment or modules, and numbers that are exact or refused.

jq keeps all digits of a number until it computes with it, which it does with the 53 bits of a double. Therefore its
outputs are read as JSON text. If a number needs more than 53 bits, the program runs with operators that never round.
"""

from __future__ import annotations

from scflows.documents import has_half_character, json_text, parse_finite, path_to
from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# jq has no option to hide the environment, so the frame redefines `env` and `$ENV` as empty and modules as an error.
# `import` and `include` are only valid at the start of a program, which the frame occupies. The program is not put in
# parentheses: one that closes a parenthesis it has not opened would compile.
FRAME = 'def env: {}; def modulemeta: error("modules are not available"); {} as $ENV |\n'
# Two line ends: a comment whose line ends with a backslash continues in the next line.
AS_TEXT = "\n\n| tojson"
# The input is a list of the value and of the integers in it that are not exact as a double. A definition sees those
# before it, so the names without underscores in these bodies are jq's own; jq calls `_plus` and the others for `+` etc.
EXACT_FRAME = (
    FRAME
    + r"""
.[1] as $__inexact | .[0] |
def __is_inexact: type == "number" and $__inexact[tojson | ltrimstr("-")];
def __refuse($a; $b): error("__rounds \($a | tojson) and \($b | tojson)");
def __exact: if __is_inexact then error("__rounds \(tojson)") else . end;
def __is_integer: . == floor and (tojson | test("E|\\.[0-9]*$") | not);
def __check($a; $b; lost):
  if fabs >= 9007199254740992 and ($a | __is_integer) and ($b | __is_integer) and lost != 0 then __refuse($a; $b)
  else . end;
def __add($a; $b): $a + $b;
def __subtract($a; $b): $a - $b;
def __multiply($a; $b): $a * $b;
def __divide($a; $b): $a / $b;
def __remainder($a; $b): $a % $b;
def __floor: floor; def __ceil: ceil; def __round: round; def __trunc: trunc; def __fabs: fabs;
def __range($a; $b): range($a; $b);
def __pow($a; $b): pow($a; $b);
def __high: (134217729 * .) as $c | $c - ($c - .);
def __lost_in_product($a; $b; $p):
  ($a | __high) as $c | ($a - $c) as $d | ($b | __high) as $e | ($b - $e) as $f
  | (($c * $e - $p) + $c * $f + $d * $e) + $d * $f;
def __sum($a; $b):
  ($a + $b) as $s | $s | __check($a; $b; ($s - $a) as $c | ($a - ($s - $c)) + ($b - $c));
def __product($a; $b): ($a * $b) as $p | $p | __check($a; $b; __lost_in_product($a; $b; $p));
def __quotient($a; $b): ($a / $b) as $q | $q | __check($a; $b; __lost_in_product($q; $b; $a));
def __modulus($a; $b):
  if ($a | fabs) >= 9223372036854774784 or ($b | fabs) >= 9223372036854774784 then __refuse($a; $b) else $a % $b end;
def __power($a; $b):
  pow($a; $b) | __check($a; $b; if $a == 2 or ($a == 10 and $b <= 22) then 0 else 1 end);
def __if_numbers($a; $b; numbers; others):
  if ($a | type) == "number" and ($b | type) == "number" then ($a | __exact) | ($b | __exact) | numbers else others end;
def _plus(a; b): b as $b | a as $a | __if_numbers($a; $b; __sum($a; $b); __add($a; $b));
def _minus(a; b): b as $b | a as $a | __if_numbers($a; $b; __sum($a; -$b); __subtract($a; $b));
def _multiply(a; b): b as $b | a as $a | __if_numbers($a; $b; __product($a; $b); __multiply($a; $b));
def _divide(a; b): b as $b | a as $a | __if_numbers($a; $b; __quotient($a; $b); __divide($a; $b));
def _mod(a; b): b as $b | a as $a | __if_numbers($a; $b; __modulus($a; $b); __remainder($a; $b));
def add: reduce .[] as $x (null; . + $x);
def add(f): reduce f as $x (null; . + $x);
def pow(a; b): b as $b | a as $a | __if_numbers($a; $b; __power($a; $b); __pow($a; $b));
def range($a; $b): __range($a | __exact; $b | __exact);
def range($n): range(0; $n);
def floor: if __is_inexact then . else __floor end;
def ceil: if __is_inexact then . else __ceil end;
def round: if __is_inexact then . else __round end;
def trunc: if __is_inexact then . else __trunc end;
def fabs: if __is_inexact then abs else __fabs end;
"""
)
# For the binding, `halt_error` is the same as the end of the outputs. Therefore a program that may halt gets
# one more output, its last; if that is missing, the program runs again with a `halt_error` that raises an error. That
# one alone is not enough, since `try` catches it.
END = "end"
BEFORE_END, AFTER_END = "(\n", f'{AS_TEXT}), "{END}"'
HALT_ERROR = (
    'def halt_error($code): error(if type == "string" then . else tojson end);\ndef halt_error: halt_error(5);\n'
)

#: Integers that are shorter are exact as a double.
LARGE_DIGITS = 16
#: What jq makes of a result that is too large for a double.
LARGEST = 1.7976931348623157e308
#: How the error of EXACT_FRAME begins.
ROUNDS = "__rounds "
ADVICE = "jq computes with 53 bits; compute in a template ({{ … }}), or use a text (tostring)"


class Filter:
    """A compiled jq program."""

    def __init__(self, expression: str) -> None:
        """Compile a program. Raises StepError."""
        self._expression = expression
        self._may_halt = "halt" in expression
        self._programs: dict[str, Any] = {}
        # The product of small integers may be too large for 53 bits before `%` makes it small again.
        self._is_suspect = "%" in expression and ("*" in expression or "pow" in expression)
        self._has_large = _has_large(expression)
        self._program(FRAME)

    def outputs(self, value: Any) -> list[Any]:
        """Return the outputs for a JSON value. Raises StepError."""
        text = json_text(value)
        if self._is_suspect or self._has_large or _has_large(text):
            return self._exact_outputs(value, text)
        found = self._run(FRAME, text, value)
        if any("e+" in each or _has_large(each) for each in found):
            # These numbers are not in the input, so they were computed, and perhaps rounded.
            return self._exact_outputs(value, text)
        return [_read(each) for each in found]

    def _exact_outputs(self, value: Any, text: str) -> list[Any]:
        self._refuse_folded()
        literals = {*_large_integers(text), *_large_integers(self._expression)}
        inexact = ", ".join(f'"{each}": true' for each in literals if not _is_exact(each))
        found = self._run(EXACT_FRAME, f"[{text}, {{{inexact}}}]", value)
        return [_read(each, literals) for each in found]

    def _refuse_folded(self) -> None:
        """Raise StepError if the program computes with an integer that it rounds; jq does so as it compiles."""
        import re

        for digits in _large_integers(self._expression) if self._has_large else ():
            pattern = rf"[+*/%]\s*{digits}|[\w.)\]]\s*-\s*{digits}|{digits}\s*[-+*/%]"
            if not _is_exact(digits) and re.search(pattern, self._expression):
                raise StepError(f"jq: cannot compute with {digits} without rounding: {ADVICE}")

    def _run(self, frame: str, given: str, value: Any) -> list[str]:
        """Return the outputs as JSON texts. `given` is the input, and `value` the one in it."""
        try:
            found: list[str] = self._program(frame).input_text(given).all()
            if not self._may_halt:
                return found
            if found and found[-1] == END:
                return found[:-1]
            again = self._program(frame + HALT_ERROR).input_text(given).all()
        except UnicodeEncodeError:
            raise StepError(f"jq: half a character{path_to(value, has_half_character)}, which jq cannot hold") from None
        except ValueError as error:
            raise StepError(f"jq: {_reason(error)}") from error
        if again and again[-1] == END:
            raise StepError("jq: ended by halt_error")
        return found

    def _program(self, frame: str) -> Any:
        found = self._programs.get(frame)
        if found is None:
            parts = (BEFORE_END, self._expression, AFTER_END) if self._may_halt else ("", self._expression, AS_TEXT)
            found = self._programs[frame] = _compiled(frame, *parts)
        return found


def check_program(expression: str) -> None:
    """Raise StepError if a jq program does not compile."""
    _compiled(FRAME, "", expression, "")


def _compiled(frame: str, before: str, expression: str, after: str) -> Any:
    import jq

    if not expression.strip():
        raise StepError("the jq expression is empty")
    try:
        return jq.compile(f"{frame}{before}{expression}{after}")
    except ValueError as error:
        reason = first_line(error).removeprefix("jq: error: ").partition(" at <top-level>")[0]
        if "unexpected import" in reason or "unexpected include" in reason:
            reason = "import and include are not available"
        raise StepError(f"jq {shortened(expression)!r}: {reason}") from error


def _has_large(text: str) -> bool:
    """Return whether a JSON text or a program may hold an integer that a double cannot."""
    import re

    return re.search(rf"(?<![.0-9])[0-9]{{{LARGE_DIGITS}}}", text) is not None


def _large_integers(text: str) -> list[str]:
    """Return the digits of such integers, without signs; of those in texts, too."""
    import re

    return re.findall(rf"(?<![.0-9])[1-9][0-9]{{{LARGE_DIGITS - 1},}}(?![.0-9eE])", text)


def _is_exact(digits: str) -> bool:
    try:
        return int(float(digits)) == int(digits)
    except (ValueError, OverflowError):
        return False


def _read(text: str, literals: Sequence[str] | set[str] = ()) -> Any:
    """Return the value of an output; `literals` are the large integers that were given. Raises StepError."""
    import json

    def integer(digits: str) -> int:
        if len(digits) < LARGE_DIGITS:
            return int(digits)
        number = int(digits)
        bare = digits.lstrip("-")
        if bare in literals:
            return number
        computed = float(digits) if len(bare) < 400 else 0.0
        # jq shows the shortest digits that say the double; other digits were given as a text.
        if int(computed) == number or _shortest(computed) != bare:
            return number
        raise StepError(f"jq: {digits} is rounded: {ADVICE}")

    def decimal(digits: str) -> float | int:
        number = parse_finite(digits)
        if abs(number) == LARGEST and digits.endswith("e+308"):
            raise StepError("jq: a result is too large for a number")
        # What was given has a capital E.
        return int(number) if "e+" in digits and abs(number) < 1e22 and number == int(number) else number

    try:
        return json.loads(text, parse_int=integer, parse_float=decimal)
    except RecursionError:
        raise StepError("jq: the result is nested too deeply") from None
    except ValueError as error:
        reason = "the result is nested too deeply" if "<skipped" in text else str(error)
        raise StepError(f"jq: {reason}") from None


def _shortest(number: float) -> str:
    """Return the digits of a large whole number as jq shows it."""
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    return (whole + fraction).ljust(int(exponent) + 1, "0") if exponent else whole


def _reason(error: BaseException) -> str:
    # `"" | halt_error` has an empty message.
    line = first_line(error) if str(error).strip() else "ended by halt_error"
    if line.startswith(ROUNDS):
        return f"cannot compute with {line.removeprefix(ROUNDS)} without rounding: {ADVICE}"
    return line


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def shortened(text: str) -> str:
    """Return a text on one line of at most 60 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"
