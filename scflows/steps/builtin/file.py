"""Read, write or append to a YAML, JSON or text file."""

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
    """Read, write or append to a YAML, JSON or text file.

    - name: stations
      type: file
      file: {path: input/stations.json, type: json}
    - name: keep the last answer
      type: file
      file: {path: "output/{{ __timestamp__ }}.yml", mode: write, data_key: stations}
    """

    path: str = option(template=True, help="in DATA_PATH; with the prefix `flow:` read from the flow's folder")
    mode: str = option("read", choices=("read", *WRITING), help="`append` adds to an existing file")
    type: str = option("yaml", choices=("yaml", "json", "text"), help="`text` is read and written unchanged")
    data_key: str | None = option(None, help="the key of the value to write")

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if options.get("mode") in WRITING and options.get("data_key") is None:
            yield "data_key", f"option 'data_key' is missing: {options['mode']!r} needs it"

    def writes(self) -> bool:
        return self.mode in WRITING

    def intention(self) -> str:
        return f"append to {self.path}" if self.mode == "append" else f"{self.mode} {self.path}"

    def run(self, ctx: Context) -> Any:
        try:
            if self.mode == "read":
                return self._read(ctx.readable(self.path))
            assert self.data_key is not None
            value = ctx.peek(self.data_key)
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
            raise StepError(f"{self.data_key!r} is not text; write it as yaml or json")
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise StepError(f"{self.data_key!r} contains half a surrogate pair, which UTF-8 cannot encode") from None

    def _append(self, path: str, value: Any) -> None:
        from scflows.connectors.tables.append_file import FileAppender

        content = self._content(value)
        with FileAppender(path) as file:
            if self.type == "text":
                file.add(content)
            elif self.type == "yaml" and isinstance(value, list):
                self._append_items(file, value, content)
            else:
                separator = b"---\n" if self.type == "yaml" else b""
                file.add((b"" if file.ends_with_newline else b"\n") + separator + content)

    def _append_items(self, file: Any, items: list[Any], content: bytes) -> None:
        """Append items to the list in the last document of a YAML file; add a document if it is not a list."""
        from scflows import documents

        if file.size == 0:
            file.add(content)
            return
        text = documents.decode(file.read(), self.path)
        start, first, closed = _last_document(text)
        newline = b"" if file.ends_with_newline else b"\n"
        if first.startswith("- ") and not closed:
            # A list in block style, as we write it: text that is appended extends the list.
            file.add(newline + content if items else b"")
            return
        last = json_value(documents.parse_yaml(text[start:], self.path))
        if last is None and not first:
            file.add(newline + content)
        elif isinstance(last, list):
            # Another style, for example `[1, 2]`, which cannot be extended as text.
            separator = "---\n" if first.startswith("---") else ""
            file.replace((text[:start] + separator + documents.yaml_text(last + items)).encode())
        else:
            file.add(newline + b"---\n" + content)


def _last_document(text: str) -> tuple[int, str, bool]:
    """Return the start, the first significant line and the closed state of the last document of a YAML text.

    The start is after its `---`, or at the `---` if there is more on that line.
    """
    start = next_line = 0
    first = ""
    closed = False
    for line in text.split("\n"):
        this_line, next_line = next_line, next_line + len(line) + 1
        stripped = line.rstrip()
        if stripped == "---":
            start, first, closed = next_line, "", False
        elif line.startswith("--- "):
            start, first, closed = this_line, stripped, False
        elif stripped == "...":
            closed = True
        elif stripped and not first and not stripped.startswith("#"):
            first = "- " if stripped == "-" else stripped
    return start, first, closed
