"""The sandbox of templates: keys of data before methods of Python, no access to internals, bounded and exact values."""

from __future__ import annotations

import os

from scflows.documents import parse_finite
from scflows.expressions.comparison import compare, sort_keys
from scflows.storage import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jinja2 import Undefined
    from jinja2.sandbox import SandboxedEnvironment

#: The largest value that one operation of a template may create, in characters, items or bits.
MAX_EXPANSION = 10_000_000
#: The methods that pad a text to a width.
PADDING = ("center", "ljust", "rjust", "zfill")
#: The values that a flow's data consists of.
DATA = (dict, list, str, int, float, type(None))
#: Integers up to this are exact as a float.
MOST_EXACT = 2**53
#: The tests of templates that compare.
TESTS = {
    "eq": ("eq", "==", "equalto"),
    "ne": ("ne", "!="),
    "lt": ("lt", "<", "lessthan"),
    "lteq": ("le", "<="),
    "gt": ("gt", ">", "greaterthan"),
    "gteq": ("ge", ">="),
}
#: The template function that returns a secret, where the language allows it.
SECRET = "secret"
NO_SECRETS = "secret() is not allowed here; it works in uri, query and headers of rest, and in login settings"


def sandbox(folders: tuple[str, ...], strict: bool, private: tuple[str, ...], cache_size: int) -> SandboxedEnvironment:
    """Return the environment that compiles templates.

    `folders`: where template files lie; `strict`: undefined names are errors; `private`: files in the folders that
    cannot be used as templates; `cache_size`: how many compiled template files are cached.
    """
    import re
    from functools import partial

    from jinja2 import FileSystemLoader, StrictUndefined, Undefined, nodes
    from jinja2.compiler import CodeGenerator
    from jinja2.compiler import operators as signs
    from jinja2.exceptions import SecurityError, TemplateNotFound
    from jinja2.loaders import split_template_path
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    tops = [os.path.realpath(folder) for folder in folders]

    class Inside(FileSystemLoader):
        def get_source(self, environment: Any, template: str) -> Any:
            # Jinja's loader follows links out of the folder.
            if "\0" in template:
                raise TemplateNotFound(template)
            parts = split_template_path(template)
            for top in tops:
                full = os.path.join(top, *parts)
                if not os.path.lexists(full):
                    continue
                file = os.path.realpath(full)
                if not is_below(file, (top,)):
                    raise SecurityError(f"{template!r} leads out of its folder")
                # A flow may lie beside the settings.
                if is_below(file, private):
                    raise SecurityError(f"{template!r} is a settings file, which steps cannot access")
            source, filename, is_current = super().get_source(environment, template)
            # As Jinja itself does, which is set not to, for the texts of options.
            end = next((end for end in ("\r\n", "\n", "\r") if source.endswith(end)), "")
            return source.removesuffix(end), filename, is_current

    class Unfolded(CodeGenerator):
        def _output_child_to_const(self, node: nodes.Expr, frame: Any, finalize: Any) -> str:
            # Constant expressions may be huge; they must not be computed at compile time, where no time limit applies.
            if not isinstance(node, nodes.TemplateData | nodes.Const):
                raise nodes.Impossible
            return super()._output_child_to_const(node, frame, finalize)

        def visit_Call(self, node: nodes.Call, frame: Any, forward_caller: bool = False) -> None:
            # Values of the data cannot be called, so `row.items()` is the method, whatever keys `row` has.
            if isinstance(node.node, nodes.Getattr):
                node.node.attr = _Method(node.node.attr)
            super().visit_Call(node, frame, forward_caller=forward_caller)

        def visit_Getattr(self, node: nodes.Getattr, frame: Any) -> None:
            self.write("environment.method(" if isinstance(node.attr, _Method) else "environment.getattr(")
            self.visit(node.node, frame)
            self.write(f", {str(node.attr)!r})")

        def visit_Compare(self, node: nodes.Compare, frame: Any) -> None:
            left = node.expr
            for number, operand in enumerate(node.ops):
                self.write(" and " if number else "(")
                is_member = operand.op in ("in", "notin")
                self.write("(" if is_member else f"environment.compare({operand.op!r}, ")
                self.visit(left, frame)
                self.write(f" {signs[operand.op]} " if is_member else ", ")
                self.visit(operand.expr, frame)
                self.write(")")
                left = operand.expr
            self.write(")")

    class Sandbox(ImmutableSandboxedEnvironment):
        code_generator_class = Unfolded
        intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])
        compare = staticmethod(compare)
        method = ImmutableSandboxedEnvironment.getattr

        def getattr(self, obj: Any, attribute: str) -> Any:
            if not isinstance(obj, DATA):
                return super().getattr(obj, attribute)
            return self.getitem(obj, attribute)

        def getitem(self, obj: Any, argument: Any) -> Any:
            if not isinstance(obj, DATA):
                return super().getitem(obj, argument)
            try:
                return obj[argument]  # type: ignore[index]
            except (TypeError, LookupError):
                if isinstance(argument, str) and argument.startswith("__"):
                    # An attempt to reach Python's internals.
                    return super().getattr(obj, argument)
                return self.undefined(obj=obj, name=argument)

        def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
            if isinstance(obj, Undefined) and obj._undefined_name == SECRET:
                raise SecurityError(NO_SECRETS)
            if getattr(obj, "__name__", "") in PADDING and isinstance(getattr(obj, "__self__", None), str):
                _bound(*args)
            return super().call(context, obj, *args, **kwargs)

        def wrap_str_format(self, value: Any) -> Any:
            found = super().wrap_str_format(value)
            if found is not None:
                _bound(*(int(width) for width in re.findall(r"\d+", value.__self__)))
            return found

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**":
                if isinstance(left, int) and isinstance(right, int):
                    _bound(left.bit_length() * right)
            elif isinstance(left, str | list | tuple) and isinstance(right, int):
                _bound(len(left) * right)
            elif isinstance(right, str | list | tuple) and isinstance(left, int):
                _bound(len(right) * left)
            else:
                _refuse_rounding(operator, left, right)
            return super().call_binop(context, operator, left, right)

        def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
            # Jinja's own result renders as an empty text; an attempt to reach Python's internals must be an error.
            raise SecurityError(f"templates cannot access {attribute!r}")

    environment = Sandbox(
        loader=Inside(tops),
        undefined=StrictUndefined if strict else Undefined,
        keep_trailing_newline=True,
        autoescape=False,
        cache_size=cache_size,
        optimized=False,
    )
    for name in ("center", "indent", "format"):
        environment.filters[name] = _bounded(environment.filters[name])
    environment.filters |= _exact_filters(dict(environment.filters))
    for operator, names in TESTS.items():
        test: Callable[..., Any] = partial(compare, operator)
        for name in names:
            environment.tests[name] = test
    return environment


def _refuse_rounding(operator: str, left: Any, right: Any) -> None:
    """Raise for an operation that makes a float of an integer that a float cannot hold."""
    if isinstance(left, float) or isinstance(right, float) or operator == "/":
        for value in (left, right):
            if isinstance(value, int) and not -MOST_EXACT <= value <= MOST_EXACT and not _is_exact(value):
                from jinja2 import TemplateRuntimeError

                advice = "; // divides integers" if operator == "/" else ""
                raise TemplateRuntimeError(f"{_shown(value)} would be rounded by {operator}{advice}")


def _is_exact(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _shown(value: int) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _exact_filters(usual: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return filters that do not round, and that compare times as instants."""
    from jinja2 import TemplateRuntimeError, pass_environment
    from jinja2.filters import ignore_case, make_attrgetter, make_multi_attrgetter

    def to_integer(value: Any, default: int = 0, base: int = 10) -> Any:
        if isinstance(value, str) and base == 10 and len(value) > 15:
            from decimal import Decimal, InvalidOperation

            try:
                number = Decimal(value.strip())
                # The same digits that `int` takes, but for those of an exponent.
                return int(number) if number.is_finite() and abs(number.adjusted()) < 400 else default
            except InvalidOperation:
                return default
        return usual["int"](value, default, base)

    def to_float(value: Any, default: float = 0.0) -> Any:
        if isinstance(value, int) and not _is_exact(value):
            raise TemplateRuntimeError(f"{_shown(value)} would be rounded by the filter float")
        if isinstance(value, str) and len(value) > 15:
            try:
                float(value)
            except ValueError:
                return default
            return parse_finite(value.strip())
        return usual["float"](value, default)

    def rounded(value: Any, precision: int = 0, method: str = "common") -> Any:
        if isinstance(value, int) and precision >= 0 and abs(value) > MOST_EXACT:
            return value
        return usual["round"](value, precision, method)

    def extreme(choose: Callable[..., Any], environment: Any, value: Any, case_sensitive: bool, attribute: Any) -> Any:
        items = list(value)
        if not items:
            return environment.undefined("No aggregated item, sequence was empty.")
        key = make_attrgetter(environment, attribute, None if case_sensitive else ignore_case)
        keys = sort_keys([key(item) for item in items])
        return items[choose(range(len(items)), key=keys.__getitem__)]

    @pass_environment
    def least(environment: Any, value: Any, case_sensitive: bool = False, attribute: Any = None) -> Any:
        return extreme(min, environment, value, case_sensitive, attribute)

    @pass_environment
    def greatest(environment: Any, value: Any, case_sensitive: bool = False, attribute: Any = None) -> Any:
        return extreme(max, environment, value, case_sensitive, attribute)

    @pass_environment
    def in_order(
        environment: Any, value: Any, reverse: bool = False, case_sensitive: bool = False, attribute: Any = None
    ) -> Any:
        items = list(value)
        key = make_multi_attrgetter(environment, attribute, None if case_sensitive else ignore_case)
        columns = [sort_keys(column) for column in zip(*map(key, items), strict=True)]
        keys = list(zip(*columns, strict=True))
        return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__, reverse=reverse)]

    return {"int": to_integer, "float": to_float, "round": rounded, "min": least, "max": greatest, "sort": in_order}


class _Method(str):
    """The name of an attribute that is called."""


def _bounded(filter: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter that pads a text so that the width is bounded."""
    import re
    from functools import wraps

    @wraps(filter)
    def bounded(value: Any, *args: Any, **kwargs: Any) -> Any:
        if filter.__name__ == "do_format":
            _bound(*(int(width) for width in re.findall(r"\d+", str(value))))
        else:
            _bound(*args, *kwargs.values())
        return filter(value, *args, **kwargs)

    return bounded


def _bound(*sizes: Any) -> None:
    from jinja2.exceptions import SecurityError

    if any(isinstance(size, int) and size > MAX_EXPANSION for size in sizes):
        raise SecurityError(f"the template creates a value of more than {MAX_EXPANSION} characters or items")
