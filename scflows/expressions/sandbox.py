"""The sandbox of templates: keys of data before methods of Python, no access to internals, bounded and exact values."""

from __future__ import annotations

import os

from scflows.expressions.comparison import compare, contains
from scflows.expressions.limits import (
    EXPANDING,
    MAX_EXPANSION,
    MAX_TEXT,
    Budget,
    Pieces,
    bounded_filters,
    check_format,
    expansion,
    joined,
    limit,
    listed,
    shown,
)
from scflows.expressions.numbers import FLOATS, exact_filters, is_exact, refuse_rounding
from scflows.storage import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jinja2 import Undefined
    from jinja2.sandbox import SandboxedEnvironment

#: The values that a flow's data consists of.
DATA = (dict, list, str, int, float, type(None))
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
    from jinja2.exceptions import SecurityError, TemplateNotFound
    from jinja2.loaders import split_template_path
    from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
    from jinja2.utils import generate_lorem_ipsum

    budget = Budget()
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

        def buffer(self, frame: Any) -> None:
            # What a macro or a block has rendered so far; in Jinja a list without a limit.
            frame.buffer = self.temporary_identifier()
            self.writeline(f"{frame.buffer} = environment.new_buffer()")

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
                if operand.op in ("in", "notin"):
                    self.write("not " if operand.op == "notin" else "")
                    self.write("environment.contains(")
                else:
                    self.write(f"environment.compare({operand.op!r}, ")
                self.visit(left, frame)
                self.write(", ")
                self.visit(operand.expr, frame)
                self.write(")")
                left = operand.expr
            self.write(")")

        def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:
            self.write("environment.concat(str(environment.shown(each)) for each in (")
            for part in node.nodes:
                self.visit(part, frame)
                self.write(", ")
            self.write("))")

    class Exact(SandboxedFormatter):
        def format_field(self, value: Any, format_spec: str) -> Any:
            budget.charge(*(int(width) for width in re.findall(r"\d+", format_spec)))
            if isinstance(value, int) and format_spec[-1:] in (*FLOATS, "%") and format_spec and not is_exact(value):
                from decimal import Decimal

                return format(Decimal(value), format_spec)
            text = super().format_field(shown(value), format_spec)
            budget.add(len(text))
            return text

    class Sandbox(ImmutableSandboxedEnvironment):
        code_generator_class = Unfolded
        intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])
        compare = staticmethod(compare)
        contains = staticmethod(contains)
        shown = staticmethod(shown)
        concat = staticmethod(joined)
        new_buffer = Pieces
        method = ImmutableSandboxedEnvironment.getattr

        def begin(self) -> None:
            """Start a rendering: nothing is created yet."""
            budget.spent = 0

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
            name = getattr(obj, "__name__", "")
            if name in EXPANDING and isinstance(value := getattr(obj, "__self__", None), str | int):
                if name == "join":
                    args = tuple(listed(each) for each in args)
                budget.charge(expansion(name, value, args, kwargs))
            return super().call(context, obj, *args, **kwargs)

        def wrap_str_format(self, value: Any) -> Any:
            if super().wrap_str_format(value) is None:
                return None

            def formatted(*args: Any, **kwargs: Any) -> str:
                if value.__name__ == "format_map":
                    return Exact(self).vformat(str(value.__self__), (), *args)
                return Exact(self).vformat(str(value.__self__), args, kwargs)

            return formatted

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**":
                if isinstance(left, int) and isinstance(right, int):
                    budget.charge(left.bit_length() * right)
            elif operator == "%" and isinstance(left, str):
                check_format(left, right, budget)
            elif operator == "*" and isinstance(left, str | list | tuple) and isinstance(right, int):
                budget.charge(len(left) * right)
            elif operator == "*" and isinstance(right, str | list | tuple) and isinstance(left, int):
                budget.charge(len(right) * left)
            elif operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
                limit(len(left) + len(right), MAX_TEXT if isinstance(left, str) else MAX_EXPANSION)
                budget.add(min(len(left), len(right)))
            else:
                refuse_rounding(operator, left, right)
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
        finalize=shown,
    )
    environment.filters |= bounded_filters(dict(environment.filters), budget)
    environment.filters |= exact_filters(dict(environment.filters))
    environment.tests["in"] = contains
    for operator, names in TESTS.items():
        test: Callable[..., Any] = partial(compare, operator)
        for name in names:
            environment.tests[name] = test

    def lipsum(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> str:
        budget.charge(n * max * 10)
        return generate_lorem_ipsum(n, html, min, max)

    environment.globals["lipsum"] = lipsum
    return environment


class _Method(str):
    """The name of an attribute that is called."""
