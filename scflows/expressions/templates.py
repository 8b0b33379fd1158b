"""Jinja templates in a sandbox, `when` conditions, jq filters; each is compiled once per process."""

from __future__ import annotations

from _thread import allocate_lock
from collections import ChainMap

from scflows.errors import StepError
from scflows.expressions.jq import Filter, check_program, first_line, shortened
from scflows.expressions.sandbox import NO_SECRETS, SECRET, sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment


#: How many compiled templates, conditions and filters are cached, of each; the oldest is dropped first.
CACHE_SIZE = 2000
TRUE_WORDS = ("true", "1", "yes")
#: The filter that conditions apply; a template cannot name it.
TRUTH = "truth of a condition"
#: jq expressions that are known to compile; a check takes 2 ms.
_valid_filters: set[str] = set()


class Expressions:
    """The compiled templates, conditions and filters of one workspace."""

    def __init__(
        self, template_folders: tuple[str, ...] = (), strict: bool = False, private: tuple[str, ...] = ()
    ) -> None:
        """`private`: files that cannot be used as templates, although they lie in a template folder."""
        self._template_folders = template_folders
        self._private = private
        self._strict = strict
        self._environment: SandboxedEnvironment | None = None
        self._templates: dict[str, Template] = {}
        self._conditions: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._filters: dict[str, Filter] = {}
        # Threads share the caches; the lock guards changes to them.
        self._cache_lock = allocate_lock()
        self._altering: dict[str, bool] = {}

    def render(self, text: str, names: Mapping[str, Any]) -> str:
        """Render a template; return plain text unchanged. Raises StepError."""
        if not is_template(text):
            return text
        template = self._template(text)
        return str(self._guarded(lambda: _rendered(template, names), text))

    def render_all(self, value: Any, names: Mapping[str, Any]) -> Any:
        """Render every text in a value; lists and mappings keep their shape, keys are not rendered."""
        if isinstance(value, str):
            return self.render(value, names)
        if isinstance(value, dict):
            return {key: self.render_all(item, names) for key, item in value.items()}
        if isinstance(value, list):
            return [self.render_all(item, names) for item in value]
        return value

    def render_file(self, path: str, names: Mapping[str, Any]) -> str:
        """Render a file of the template folders. Raises StepError."""
        from jinja2 import TemplateNotFound

        try:
            template = self._jinja().get_template(path)
        except TemplateNotFound as error:
            raise StepError(f"template {error.name!r} not found in the templates folder") from error
        except Exception as error:
            raise StepError(f"template {path!r}: {first_line(error)}") from error
        return str(self._guarded(lambda: _rendered(template, names), path))

    def evaluate(self, condition: Any, names: Mapping[str, Any]) -> bool:
        """Return whether a condition is true: a number by its value, a text as an expression. Raises StepError."""
        if not isinstance(condition, str):
            return is_true(condition)
        if is_template(condition):
            # The result may carry the template's own blanks, for example the final newline of a YAML block.
            judged = self._condition_template(condition)
            return is_true(str(self._guarded(lambda: _rendered(judged, names), condition)).strip())
        compiled = self._conditions.get(condition)
        if compiled is None:
            compiled = self._compile_condition(condition)
            self._cache(self._conditions, condition, compiled)
        return bool(self._guarded(lambda: is_true(compiled(names)), condition))

    def compute(self, expression: str, names: Mapping[str, Any]) -> Any:
        """Return the value of an expression, such as `price * count`; null for an unknown name. Raises StepError."""
        compiled = self._values.get(expression)
        if compiled is None:
            compiled = self._compile_condition(expression, is_value=True)
            self._cache(self._values, expression, compiled)
        from jinja2 import Undefined

        value = self._guarded(lambda: compiled(names), expression)
        return None if isinstance(value, Undefined) else value

    def check_expression(self, expression: str) -> None:
        """Raise StepError if an expression does not compile."""
        self._compile_condition(expression, is_value=True)
        self._refuse_secrets("{{ " + expression + " }}")

    def filter(self, expression: str, value: Any, output: str | None = None) -> Any:
        """Apply a jq expression; return null, its single output, or the list of several.

        `output` is `list` (always return a list) or `first` (the first output or null). Raises StepError.
        """
        compiled = self._filters.get(expression)
        if compiled is None:
            compiled = Filter(expression)
            self._cache(self._filters, expression, compiled)
        outputs = compiled.outputs(value)
        if output == "list":
            return outputs
        if output == "first" or len(outputs) < 2:
            return outputs[0] if outputs else None
        return outputs

    def check_template(self, text: str, secrets: bool = False) -> None:
        """Raise StepError if a text is a template that does not compile, or calls `secret` without permission."""
        if is_template(text):
            self._template(text)
            if not secrets:
                self._refuse_secrets(text)

    def check_condition(self, condition: Any) -> None:
        """Raise StepError if a condition does not compile."""
        if isinstance(condition, str):
            if is_template(condition):
                self._template(condition)
                self._refuse_secrets(condition)
            elif condition not in self._conditions:
                self._cache(self._conditions, condition, self._compile_condition(condition))
                self._refuse_secrets("{{ " + condition + " }}")

    def doubt_condition(self, condition: Any) -> str:
        """Return why a condition that compiles is never true; an empty text if it may be."""
        if not isinstance(condition, str) or not is_template(condition):
            return ""
        from jinja2 import nodes

        outputs = [part for part in self._jinja().parse(condition).body if isinstance(part, nodes.Output)]
        parts = [
            part.data.strip() for output in outputs for part in output.nodes if isinstance(part, nodes.TemplateData)
        ]
        fixed = next((part for part in parts if part and not any(part.lower() in word for word in TRUE_WORDS)), None)
        if fixed is None:
            return ""
        return f"is never true: it renders to a text with {shortened(fixed)!r}; write the condition without braces"

    def check_filter(self, expression: str) -> None:
        """Raise StepError if a jq expression does not compile."""
        if expression not in _valid_filters:
            check_program(expression)
            if len(_valid_filters) < CACHE_SIZE:
                _valid_filters.add(expression)

    def _condition_template(self, text: str) -> Template:
        """Return a template whose `not`, `and`, `or` and `if` follow the rules of conditions."""
        found: Template | None = self._conditions.get(text)
        if found is None:
            self._template(text)
            environment = self._jinja()
            body = environment.parse(text)
            _judge(body)
            found = environment.from_string(body)
            self._cache(self._conditions, text, found)
        return found

    def _template(self, text: str) -> Template:
        found = self._templates.get(text)
        if found is None:
            from jinja2 import TemplateSyntaxError

            try:
                found = self._jinja().from_string(text)
            except TemplateSyntaxError as error:
                raise StepError(f"template {shortened(text)!r}: {error.message}") from error
            except (RecursionError, MemoryError) as error:
                raise StepError(f"template {shortened(text)!r}: nested too deeply") from error
            self._cache(self._templates, text, found)
        return found

    def alters_secret(self, text: str) -> bool:
        """Return whether a template uses a secret in a filter or condition, instead of inserting a field unchanged."""
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
            self._cache(self._altering, text, found)
        return found

    def _refuse_secrets(self, text: str) -> None:
        if SECRET not in text:
            return
        from jinja2 import nodes

        if any(_is_secret(call) for call in self._jinja().parse(text).find_all(nodes.Call)):
            raise StepError(NO_SECRETS)

    def _compile_condition(self, condition: str, is_value: bool = False) -> Any:
        """Return a function that judges a condition, or computes the value of an expression."""
        from jinja2 import TemplateSyntaxError, nodes
        from jinja2.parser import Parser

        if not condition.strip():
            raise StepError("the condition is empty")
        environment = self._jinja()
        try:
            parser = Parser(environment, condition, state="variable")
            expression = parser.parse_expression()
            if not parser.stream.eos:
                raise TemplateSyntaxError("unexpected text after the expression", 1)
            result = nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)
            body = nodes.Template([result], lineno=1)
            _judge(body)
            if not is_value:
                result.node = _truth(expression)
            body.set_environment(environment)
            template = environment.from_string(body)
        except TemplateSyntaxError as error:
            raise StepError(f"condition {shortened(condition)!r}: {error.message}") from error
        except (RecursionError, MemoryError) as error:
            raise StepError(f"condition {shortened(condition)!r}: nested too deeply") from error
        return lambda names: _evaluated(template, names)

    @property
    def environment(self) -> SandboxedEnvironment:
        """Return Jinja's environment, to look into templates."""
        return self._jinja()

    def _jinja(self) -> SandboxedEnvironment:
        if self._environment is None:
            with self._cache_lock:
                if self._environment is None:
                    made = sandbox(self._template_folders, self._strict, self._private, CACHE_SIZE)
                    made.filters[TRUTH] = is_true
                    self._environment = made
        return self._environment

    def _cache(self, cache: dict[str, Any], key: str, value: Any) -> None:
        with self._cache_lock:
            if len(cache) >= CACHE_SIZE:
                del cache[next(iter(cache))]
            cache[key] = value

    def _guarded(self, action: Callable[[], Any], text: str) -> Any:
        from jinja2 import TemplateError, TemplateNotFound

        self._jinja().begin()  # type: ignore[attr-defined]
        try:
            return action()
        except StepError:
            raise
        except TemplateNotFound as error:
            raise StepError(f"template {error.name!r} not found in the templates folder") from error
        except TemplateError as error:
            raise StepError(f"template {shortened(text)!r}: {error.message}") from error
        except Exception as error:
            # A filter or operator can raise any exception for a value of the wrong type.
            raise StepError(f"template {shortened(text)!r}: {type(error).__name__}: {error}") from error


def _rendered(template: Template, names: Mapping[str, Any]) -> str:
    """Do `template.render(names)` without its copy of all names, which grows with every step."""
    context = template.new_context(ChainMap(names, template.globals), shared=True)  # type: ignore[arg-type]
    return str(template.environment.concat(template.root_render_func(context)))


def _evaluated(template: Template, names: Mapping[str, Any]) -> Any:
    """Return the value of a compiled expression: Jinja2's template stores it as `result`."""
    context = template.new_context(ChainMap(names, template.globals), shared=True)  # type: ignore[arg-type]
    for _ in template.root_render_func(context):
        pass
    return context.vars["result"]


def _judge(body: Any) -> None:
    """Give the rules of conditions to every `not`, `and`, `or` and `if` in a template that decides something."""
    from jinja2 import nodes

    decisions = (nodes.Not, nodes.CondExpr, nodes.If, nodes.For, nodes.Output)
    for node in list(body.find_all(decisions)):
        if isinstance(node, nodes.Not):
            node.node = _truth(node.node)
        elif isinstance(node, nodes.Output):
            node.nodes = [_truth(each) if isinstance(each, nodes.And | nodes.Or) else each for each in node.nodes]
        elif node.test is not None:
            node.test = _truth(node.test)


def _truth(node: Any) -> Any:
    """Return an expression that is true or false as a condition is. The operands of `and` and `or` are changed."""
    from jinja2 import nodes

    if isinstance(node, nodes.And | nodes.Or):
        node.left, node.right = _truth(node.left), _truth(node.right)
        return node
    if isinstance(node, nodes.CondExpr):
        node.expr1 = _truth(node.expr1)
        node.expr2 = None if node.expr2 is None else _truth(node.expr2)
        return node
    if isinstance(node, nodes.Not | nodes.Compare | nodes.Test):
        return node
    return nodes.Filter(node, TRUTH, [], [], None, None, lineno=node.lineno)


def _is_secret(node: Any) -> bool:
    """Return whether a node of a template calls `secret`."""
    from jinja2 import nodes

    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == SECRET


def is_template(text: str) -> bool:
    """Return whether a text contains template syntax."""
    return "{{" in text or "{%" in text or "{#" in text


def is_true(value: Any) -> bool:
    """Return the truth of a condition's value; of texts, only `true`, `1` and `yes` are true, in any case."""
    if isinstance(value, str):
        return value.lower() in TRUE_WORDS
    if isinstance(value, bool | int | float | list | dict | tuple) or value is None:
        return bool(value)
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        return bool(value)
    # Filters like `select` return a generator, which itself is always true.
    return bool(list(value)) if hasattr(value, "__iter__") else bool(value)
