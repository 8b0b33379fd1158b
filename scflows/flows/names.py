"""Check that a step or parameter gives each name that a flow uses in conditions, templates and `data_key`."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.validation import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from scflows.expressions.templates import Expressions
    from scflows.validation import Located

    At = tuple[str | int, ...]

#: The variables that every flow has.
SPECIAL = (
    *("__input__", "__errors__", "__timestamp__", "__job_id__", "__flow_path__"),
    *("__loop_index__", "__run_folder__", "__slot__"),
)
PARAMS = "params"
#: How similar a name must be to one that is given to be proposed.
SIMILARITY = 0.7
#: How a use of names is written.
CONDITION, TEMPLATE, KEY, LITERAL = "condition", "template", "key", "literal"


@dataclass(frozen=True)
class Use:
    """A text in which names may be used."""

    kind: str  #: CONDITION, TEMPLATE, KEY (a `data_key`), or LITERAL (an option that is not a template)
    text: str
    label: str
    at: At


class NameCheck:
    """The uses of names in one flow, compared with what the flow gives."""

    def __init__(self, document: Located, expressions: Expressions) -> None:
        self._document = document
        self._expressions = expressions
        self._uses: list[Use] = []

    def add(self, kind: str, text: Any, label: str, at: At) -> None:
        """Add a use; values that are not text use no names."""
        if isinstance(text, str):
            self._uses.append(Use(kind, text, label, at))

    def report(self, keys: Iterable[str], params: Iterable[str], strict: bool) -> None:
        """Add a mistake to the document for each name that is not given: a warning, or an error if `strict`.

        `keys` are those that steps store, `params` the declared parameters.
        """
        given = [*SPECIAL, *keys, *([PARAMS] if params else [])]
        severity = "error" if strict else "warning"
        found = [(use, self._names(use)) for use in self._uses]
        guarded = {name for _, names in found for name in names.guarded}
        for use, names in found:
            for problem in self._problems(use, names, given, list(params), guarded):
                self._document.mistake(f"{use.label}{problem}", *use.at, severity=severity)

    def _names(self, use: Use) -> Names:
        if use.kind == KEY:
            return Names([] if use.text == "." else [use.text])
        if use.kind == CONDITION and "{{" not in use.text and "{%" not in use.text:
            return used_names(self._expressions, "{{ " + use.text + " }}")
        return used_names(self._expressions, use.text)

    def _problems(
        self, use: Use, names: Names, given: list[str], params: list[str], guarded: set[str]
    ) -> Iterator[str]:
        if use.kind == LITERAL:
            if any(name in given for name in names.used):
                yield " is not a template: the braces are used as they are written"
            return
        for name in names.used:
            if name in given or name in guarded:
                continue
            if use.kind == KEY:
                yield f": no step stores {name!r}{_hint_for_key(name, given)}"
            else:
                yield f": no step or parameter gives {name!r}{_hint(name, given, params)}"
        for name in names.params if params else ():
            if name not in params and f"{PARAMS}.{name}" not in guarded:
                near = did_you_mean(name, params)
                yield f": there is no parameter {name!r}{'; ' + near if near else ''}"


@dataclass(frozen=True)
class Names:
    """The names in one text."""

    used: list[str]
    params: tuple[str, ...] = ()  #: those of `params.NAME`
    guarded: frozenset[str] = frozenset()  #: those that may be missing: `x is defined`, `x | default(…)`


def used_names(expressions: Expressions, template: str) -> Names:
    """Return the names that a template takes from the data; none if it does not compile, reported elsewhere."""
    if "{{" not in template and "{%" not in template:
        return Names([])
    from jinja2 import TemplateError, meta, nodes

    environment = expressions.environment
    try:
        body = environment.parse(template)
        used = meta.find_undeclared_variables(body)
    except (TemplateError, RecursionError, MemoryError):
        return Names([])
    guarded, params = set(), []
    for node in body.find_all((nodes.Test, nodes.Filter)):
        if node.name in ("defined", "undefined", "default", "d") and (path := _path(node.node)):
            guarded.add(path)
    for access in body.find_all((nodes.Getattr, nodes.Getitem)):
        path = _path(access)
        if path.startswith(f"{PARAMS}."):
            params.append(path.removeprefix(f"{PARAMS}."))
    missing = sorted(used - environment.globals.keys() - {"secret"})
    return Names(missing, tuple(name for name in params if not hasattr(dict, name)), frozenset(guarded))


def _path(node: Any) -> str:
    """Return `name`, or `name.attribute`; an empty text for any other expression."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return str(node.name)
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return f"{node.node.name}.{node.attr}"
    if isinstance(node, nodes.Getitem) and isinstance(node.node, nodes.Name) and isinstance(node.arg, nodes.Const):
        return f"{node.node.name}.{node.arg.value}"
    return ""


def _hint(name: str, given: list[str], params: list[str]) -> str:
    if name in params:
        return f"; write {PARAMS}.{name}"
    blank = next((key for key in given if key.replace(" ", "_") == name), None)
    if blank is not None:
        return f"; give the step {blank!r} a result_key without blanks"
    near = did_you_mean(name, [key for key in given if key.isidentifier()], SIMILARITY)
    return f"; {near}" if near else ""


def _hint_for_key(name: str, given: list[str]) -> str:
    if name.partition(".")[0] in given and "." in name:
        return "; data_key is a key, not a path: take the part with a jq step"
    near = did_you_mean(name, given, SIMILARITY)
    return f"; {near}" if near else ""
