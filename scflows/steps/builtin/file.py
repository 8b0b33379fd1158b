"""Read, write or add to a YAML, JSON or text file."""

from __future__ import annotations

from dataclasses import dataclass

from scflows.errors import StepError
from scflows.steps import Context, Step, json_value, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

WRITING = ("write", "append")


@dataclass(frozen=True)
class FileStep(Step):
    """Read, write or add to a YAML, JSON or text file.

    - name: stations
      type: file
      file: {path: input/stations.json, type: json}
    - name: keep the last answer
      type: file
      file: {path: "output/{{ __timestamp__ }}.yml", mode: write, data_key: stations}
    """

    path: str = option(template=True, help="in DATA_PATH; what begins with flow: is read beside the flow file")
    mode: str = option("read", choices=("read", *WRITING), help="append adds to what is there")
    type: str = option("yaml", choices=("yaml", "json", "text"), help="text is read and written as it is")
    data_key: str | None = option(None, help="what to write")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if options.get("mode") in WRITING and options.get("data_key") is None:
            yield "data_key", f"option 'data_key' is missing: what to {options['mode']}"

    def writes(self) -> bool:
        return self.mode in WRITING

    def intention(self) -> str:
        return f"append to {self.path}" if self.mode == "append" else f"{self.mode} {self.path}"

    def run(self, ctx: Context) -> Any:
        try:
            if self.mode == "read":
                return self._read(ctx.readable(self.path))
            assert self.data_key is not None
            value = ctx.look(self.data_key)
            path = ctx.writable(self.path)
            if self.mode == "append":
                self._append(path, value)
            else:
                from scflows.storage import replace

                replace(path, self._content(value))
        except OSError as error:
            raise StepError(f"{self.path}: {error.strerror or error}") from error
        return {}

    def _read(self, path: str) -> Any:
        from scflows import documents

        with open(path, "rb") as file:
            content = file.read()
        if self.type == "text":
            try:
                return content.decode()
            except UnicodeDecodeError:
                raise StepError(f"{self.path}: not UTF-8") from None
        text = documents.decode(content, self.path)
        if self.type == "json":
            return documents.parse_json_lines(text, self.path)
        return json_value(documents.parse_yaml(text, self.path))

    def _content(self, value: Any) -> bytes:
        from scflows import documents

        if self.type == "json":
            return documents.json_bytes(value) + b"\n"
        if self.type == "yaml":
            return documents.yaml_text(value).encode()
        if not isinstance(value, str):
            raise StepError(f"{self.data_key!r} is no text; write it as yaml or json")
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise StepError(f"{self.data_key!r} holds half a character, which UTF-8 cannot say") from None

    def _append(self, path: str, value: Any) -> None:
        from scflows.connectors.tables.append_file import Appending

        content = self._content(value)
        with Appending(path) as file:
            if self.type == "text":
                file.add(content)
            elif self.type == "yaml" and isinstance(value, list):
                self._append_items(file, value, content)
            else:
                mark = b"---\n" if self.type == "yaml" else b""
                file.add((b"" if file.ends_a_line else b"\n") + mark + content)

    def _append_items(self, file: Any, items: list[Any], content: bytes) -> None:
        """Add items to the list that the last document of a YAML file is."""
        from scflows import documents

        if file.size == 0:
            file.add(content)
            return
        text = documents.decode(file.read(), self.path)
        start, first, closed = _last_document(text)
        ended = b"" if file.ends_a_line else b"\n"
        if first.startswith("- ") and not closed:
            # A list as we write it: what is added to the text is added to the list.
            file.add(ended + content if items else b"")
            return
        last = json_value(documents.parse_yaml(text[start:], self.path))
        if last is None and not first:
            file.add(ended + content)
        elif isinstance(last, list):
            # Written another way, such as `[1, 2]`, which nothing can be added to as text.
            mark = "---\n" if first.startswith("---") else ""
            file.put((text[:start] + mark + documents.yaml_text(last + items)).encode())
        else:
            file.add(ended + b"---\n" + content)


def _last_document(text: str) -> tuple[int, str, bool]:
    """Of the last document of a YAML text: where it begins, its first line that says something, if it is closed.

    It begins after its `---`, or with it where more stands on that line.
    """
    start = place = 0
    first = ""
    closed = False
    for line in text.split("\n"):
        begins, place = place, place + len(line) + 1
        said = line.rstrip()
        if said == "---":
            start, first, closed = place, "", False
        elif line.startswith("--- "):
            start, first, closed = begins, said, False
        elif said == "...":
            closed = True
        elif said and not first and not said.startswith("#"):
            first = "- " if said == "-" else said
    return start, first, closed
