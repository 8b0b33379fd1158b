"""The sandbox of templates: no way out to files, the host language or secrets, and bounds to what little may make."""

from __future__ import annotations

import os

from scflows.safefile import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jinja2.sandbox import SandboxedEnvironment

#: How much a template may make of little, in characters, items or bits.
MOST_REPEATED = 10_000_000
#: The methods of a text that make it as long as they are told.
PADDING = ("center", "ljust", "rjust", "zfill")
#: The function that gives templates a secret, where the language allows it.
SECRET = "secret"
NO_SECRETS = "secret() is refused here; it works in uri, query and headers of rest, and in the settings of a login"


def sandbox(folders: tuple[str, ...], strict: bool, private: tuple[str, ...], kept: int) -> SandboxedEnvironment:
    """What templates are compiled in.

    `folders`: where template files lie; `private`: files that are no template though they lie there; `strict`: a
    name that is not there is an error; `kept`: so many compiled template files are.
    """
    import re

    from jinja2 import FileSystemLoader, StrictUndefined, Undefined, nodes
    from jinja2.compiler import CodeGenerator
    from jinja2.exceptions import SecurityError, TemplateNotFound
    from jinja2.loaders import split_template_path
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    tops = [os.path.realpath(folder) for folder in folders]

    class Inside(FileSystemLoader):
        def get_source(self, environment: Any, template: str) -> Any:
            # The library's own follows links to wherever they lead.
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
                    raise SecurityError(f"{template!r} is one of the settings, which no step may touch")
            return super().get_source(environment, template)

    class Unfolded(CodeGenerator):
        def _output_child_to_const(self, node: nodes.Expr, frame: Any, finalize: Any) -> str:
            # A text that says how to make a huge one must not be worked out where no limit of time holds.
            if not isinstance(node, nodes.TemplateData | nodes.Const):
                raise nodes.Impossible
            return super()._output_child_to_const(node, frame, finalize)

    class Sandbox(ImmutableSandboxedEnvironment):
        code_generator_class = Unfolded
        intercepted_binops = frozenset(["*", "**"])

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
            return super().call_binop(context, operator, left, right)

        def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
            # The library's own renders as nothing; reaching for the host language shall be an error.
            raise SecurityError(f"{attribute!r} is out of reach for templates")

    made = Sandbox(
        loader=Inside(tops),
        undefined=StrictUndefined if strict else Undefined,
        keep_trailing_newline=True,
        autoescape=False,
        cache_size=kept,
        optimized=False,
    )
    for name in ("center", "indent", "format"):
        made.filters[name] = _bounded(made.filters[name])
    return made


def _bounded(filter: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that makes a text as wide as it is told, up to a bound."""
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

    if any(isinstance(size, int) and size > MOST_REPEATED for size in sizes):
        raise SecurityError(f"a value of more than {MOST_REPEATED} characters or items made of a small one")
