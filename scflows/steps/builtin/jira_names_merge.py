"""Give the fields of Jira issues readable names."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, json_copy, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CUSTOM = "customfield_"


@dataclass(frozen=True)
class JiraNamesMergeStep(Step):
    """Give custom fields of Jira issues readable names and remove empty fields. The result is the list of issues.

    The search must use `expand=names`. If a name is already used, the number of the field is appended.

    - name: issues
      type: jira_names_merge
      jira_names_merge: {data_key: found}
    """

    data_key: str = option(help="the key of the search response, with `names`")
    list_key: str = option("issues", help="the key of the list in the response")

    def intention(self) -> str:
        return f"rename the fields of {self.data_key!r}"

    def run(self, ctx: Context) -> Any:
        found = ctx.peek(self.data_key)
        names = found.get("names") if isinstance(found, dict) else None
        if not isinstance(names, dict):
            raise StepError(f"{self.data_key!r} has no `names`; search with expand=names")
        items = found.get(self.list_key)
        if items is None:
            return []
        if not isinstance(items, list):
            raise StepError(f"{self.list_key!r} in {self.data_key!r} is not a list")
        return [_renamed(item, names) for item in items]


def _renamed(item: Any, names: dict[str, Any]) -> Any:
    item = json_copy(item)
    if isinstance(item, dict) and isinstance(item.get("fields"), dict):
        fields = {key: value for key, value in item["fields"].items() if not _is_empty(value)}
        # Fields that keep their key take precedence over renamed ones, whatever their order.
        taken = {key for key in fields if _new_name(key, names) is None}
        item["fields"] = {_unique_name(key, names, taken): value for key, value in fields.items()}
    return item


def _unique_name(key: str, names: dict[str, Any], taken: set[str]) -> str:
    name = _new_name(key, names)
    if name is None:
        return key
    number = key.removeprefix(CUSTOM)
    while name in taken:
        name = f"{name}_{number}"
    taken.add(name)
    return name


def _new_name(key: str, names: dict[str, Any]) -> str | None:
    name = names.get(key)
    if not key.startswith(CUSTOM) or not key.removeprefix(CUSTOM).isdigit() or not isinstance(name, str) or not name:
        return None
    return name.lower().replace(".", "_").replace("-", "_").replace(" ", "_")


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, list | dict) and not value)
