"""Jinja text in a sandbox, `when` conditions, jq filters; each compiled once in a process."""

from __future__ import annotations

from _thread import allocate_lock
from collections import ChainMap

from scflows.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

#: How many compiled templates, conditions and filters are kept, of each; the oldest goes first.
KEPT = 2000
TRUE_WORDS = ("true", "1", "yes")
# jq has no option to hide the environment, so its names are taken: `env` and `$ENV` are empty, modules are out
# of reach. `import` and `include` are syntax errors anywhere but at the start, which this is not any more. No
# parentheses around the program: what closes one that it has not opened would compile.
JQ_FRAME = 'def env: {}; def modulemeta: error("modules are not available"); {} as $ENV |\n%s'

#: jq expressions that were found to compile, which takes 2 ms each.
_sound: set[str] = set()


class Expressions:
    """What a process has compiled of one workspace's expressions."""

    def __init__(
        self, template_folders: tuple[str, ...] = (), strict: bool = False, private: tuple[str, ...] = ()
    ) -> None:
        """`private`: files that are no template to anybody, though they lie in a template folder."""
        self._template_folders = template_folders
        self._private = private
        self._strict = strict
        self._environment: SandboxedEnvironment | None = None
        self._templates: dict[str, Template] = {}
        self._conditions: dict[str, Any] = {}
        self._filters: dict[str, Any] = {}
        # Compiled things may be used by several threads at once; what is kept of them is changed by one at a time.
        self._compiling = allocate_lock()
        self._altering: dict[str, bool] = {}

    def render(self, text: str, names: Mapping[str, Any]) -> str:
        """The text with its templates filled in; plain text as it is. Raises StepError."""
        if not is_template(text):
            return text
        template = self._template(text)
        return str(self._guarded(lambda: _rendered(template, names), text))

    def render_all(self, value: Any, names: Mapping[str, Any]) -> Any:
        """The value with every text in it rendered; lists and mappings keep their shape, keys stay."""
        if isinstance(value, str):
            return self.render(value, names)
        if isinstance(value, dict):
            return {key: self.render_all(item, names) for key, item in value.items()}
        if isinstance(value, list):
            return [self.render_all(item, names) for item in value]
        return value

    def render_file(self, path: str, names: Mapping[str, Any]) -> str:
        """A template file of the template folders, rendered. Raises StepError."""
        from jinja2 import TemplateNotFound

        try:
            template = self._jinja().get_template(path)
        except TemplateNotFound as error:
            raise StepError(f"template {error.name!r} is not in the templates folder") from error
        except Exception as error:
            raise StepError(f"template {path!r}: {_first_line(error)}") from error
        return str(self._guarded(lambda: template.render(names), path))

    def judge(self, condition: Any, names: Mapping[str, Any]) -> bool:
        """Whether a condition holds: numbers by value, text as an expression. Raises StepError."""
        if not isinstance(condition, str):
            return is_true(condition)
        if is_template(condition):
            # Blanks around it are the template's, as the line end of a YAML block.
            return is_true(self.render(condition, names).strip())
        compiled = self._conditions.get(condition)
        if compiled is None:
            compiled = self._compile_condition(condition)
            self._keep(self._conditions, condition, compiled)
        return bool(self._guarded(lambda: is_true(compiled(names)), condition))

    def filter(self, expression: str, value: Any, output: str | None = None) -> Any:
        """What a jq expression makes of a value: null, the one output, or the list of several.

        `output` is `list` (always a list) or `first` (the first output or null). Raises StepError.
        """
        compiled = self._filters.get(expression)
        if compiled is None:
            compiled = compile_filter(expression)
            self._keep(self._filters, expression, compiled)
        try:
            outputs = compiled.input_value(value).all()
        except (ValueError, RecursionError) as error:
            raise StepError(f"jq: {_first_line(error)}") from error
        if output == "list":
            return outputs
        if output == "first" or len(outputs) < 2:
            return outputs[0] if outputs else None
        return outputs

    def check_template(self, text: str, secrets: bool = False) -> None:
        """Raises StepError when a text is a template that does not compile, or calls `secret` where it may not."""
        if is_template(text):
            self._template(text)
            if not secrets:
                self._refuse_secrets(text)

    def check_condition(self, condition: Any) -> None:
        """Raises StepError when a condition does not compile."""
        if isinstance(condition, str):
            if is_template(condition):
                self._template(condition)
                self._refuse_secrets(condition)
            elif condition not in self._conditions:
                self._keep(self._conditions, condition, self._compile_condition(condition))
                self._refuse_secrets("{{ " + condition + " }}")

    def check_filter(self, expression: str) -> None:
        """Raises StepError when a jq expression does not compile."""
        if expression not in _sound:
            compile_filter(expression)
            if len(_sound) < KEPT:
                _sound.add(expression)

    def _template(self, text: str) -> Template:
        found = self._templates.get(text)
        if found is None:
            from jinja2 import TemplateSyntaxError

            try:
                found = self._jinja().from_string(text)
            except TemplateSyntaxError as error:
                raise StepError(f"template {_short(text)!r}: {error.message}") from error
            except (RecursionError, MemoryError) as error:
                raise StepError(f"template {_short(text)!r}: nested too deeply") from error
            self._keep(self._templates, text, found)
        return found

    def alters_secret(self, text: str) -> bool:
        """Whether a template does more with a secret than to put a field of it as it is: filters, conditions."""
        found = self._altering.get(text)
        if found is None:
            from jinja2 import nodes

            parsed = self._jinja().parse(text)
            calls = [call for call in parsed.find_all(nodes.Call) if _is_secret(call)]
            fields = [each for output in parsed.find_all(nodes.Output) for each in output.nodes]
            plain = [
                each for each in fields if isinstance(each, nodes.Getattr | nodes.Getitem) and _is_secret(each.node)
            ]
            found = len(plain) < len(calls) or not calls
            self._keep(self._altering, text, found)
        return found

    def _refuse_secrets(self, text: str) -> None:
        from scflows.sandbox import NO_SECRETS, SECRET

        if SECRET not in text:
            return
        from jinja2 import nodes

        if any(_is_secret(call) for call in self._jinja().parse(text).find_all(nodes.Call)):
            raise StepError(NO_SECRETS)

    def _compile_condition(self, condition: str) -> Any:
        from jinja2 import TemplateSyntaxError

        if not condition.strip():
            raise StepError("an empty condition")
        try:
            expression = self._jinja().compile_expression(condition, undefined_to_none=False)
        except TemplateSyntaxError as error:
            raise StepError(f"condition {_short(condition)!r}: {error.message}") from error
        except (RecursionError, MemoryError) as error:
            raise StepError(f"condition {_short(condition)!r}: nested too deeply") from error
        return lambda names: _evaluated(expression._template, names)

    def _jinja(self) -> SandboxedEnvironment:
        if self._environment is None:
            from scflows.sandbox import sandbox

            with self._compiling:
                self._environment = self._environment or sandbox(
                    self._template_folders, self._strict, self._private, KEPT
                )
        return self._environment

    def _keep(self, kept: dict[str, Any], key: str, value: Any) -> None:
        with self._compiling:
            if len(kept) >= KEPT:
                del kept[next(iter(kept))]
            kept[key] = value

    def _guarded(self, action: Callable[[], Any], text: str) -> Any:
        from jinja2 import TemplateError, TemplateNotFound

        try:
            return action()
        except StepError:
            raise
        except TemplateNotFound as error:
            raise StepError(f"template {error.name!r} is not in the templates folder") from error
        except TemplateError as error:
            raise StepError(f"template {_short(text)!r}: {error.message}") from error
        except Exception as error:
            # A filter or operator applied to a value it cannot take raises whatever Python raises.
            raise StepError(f"template {_short(text)!r}: {type(error).__name__}: {error}") from error


def _rendered(template: Template, names: Mapping[str, Any]) -> str:
    """What `template.render(names)` gives, without a copy of all names: that would grow with every step."""
    context = template.new_context(ChainMap(names, template.globals), shared=True)  # type: ignore[arg-type]
    return "".join(template.root_render_func(context))


def _evaluated(template: Template, names: Mapping[str, Any]) -> Any:
    """What an expression that jinja2 compiled gives: its template puts the value under `result`."""
    context = template.new_context(ChainMap(names, template.globals), shared=True)  # type: ignore[arg-type]
    for _ in template.root_render_func(context):
        pass
    return context.vars["result"]


def _is_secret(node: Any) -> bool:
    """Whether a node of a template calls `secret`."""
    from jinja2 import nodes

    from scflows.sandbox import SECRET

    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == SECRET


def is_template(text: str) -> bool:
    """Whether a text has anything to render."""
    return "{{" in text or "{%" in text or "{#" in text


def is_true(value: Any) -> bool:
    """The truth of a condition's value: of texts only `true`, `1` and `yes`, in any case."""
    if isinstance(value, str):
        return value.lower() in TRUE_WORDS
    if isinstance(value, bool | int | float | list | dict | tuple) or value is None:
        return bool(value)
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        return bool(value)
    # Filters like `select` give a generator, which is always true by itself.
    return bool(list(value)) if hasattr(value, "__iter__") else bool(value)


def compile_filter(expression: str) -> Any:
    """A compiled jq program that sees neither environment nor modules. Raises StepError."""
    import jq

    if not expression.strip():
        raise StepError("an empty jq expression")
    try:
        return jq.compile(JQ_FRAME % expression)
    except ValueError as error:
        reason = _first_line(error).removeprefix("jq: error: ").partition(" at <top-level>")[0]
        if "unexpected import" in reason or "unexpected include" in reason:
            reason = "import and include are not available"
        raise StepError(f"jq {_short(expression)!r}: {reason}") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"
