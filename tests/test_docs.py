"""The documents are held to the code: examples are sound, commands exist, nothing is left out, links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
import typer
import yaml

import scflows.errors
from scflows.cli.app import build_app
from scflows.cli.options import take_options
from scflows.errors import ScflowsError
from scflows.flows.parameters import PROPERTIES, TYPES
from scflows.flows.parser import FLOW_PROPERTIES, SCHEDULE_PROPERTIES, parse_flow
from scflows.flows.step_parser import STEP_PROPERTIES
from scflows.settings import REMEMBERED
from scflows.steps import options_of
from scflows.steps.registry import find_step, step_types

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LANGUAGE = DOCS / "flow-language.md"
GENERATED = DOCS / "commands.md"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
SHIPPED = [ROOT / "tasks" / "README.md", ROOT / "tasks" / "weather" / "ORIGIN.md"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(path: Path, title: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    lines = path.read_text(encoding="utf-8").splitlines()
    begin = lines.index(title)
    level = len(title.partition(" ")[0])
    found = []
    is_code = False
    for line in lines[begin + 1 :]:
        is_code ^= line.startswith("```")
        if not is_code and re.match(rf"#{{1,{level}}} ", line):
            break
        found.append(line)
    return "\n".join(found)


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def words_of(text: str) -> set[str]:
    """Every word that a table explains: the code in its first cells."""
    return {word for cells in rows(text) for word in re.findall(r"`([^`]+)`", cells[0])}


def flow_of(block: str) -> bytes:
    """A whole flow from an example: of steps, or of what stands beside them."""
    value = yaml.safe_load(block)
    if isinstance(value, list):
        block = "steps:\n" + indent(block, "  ")
    elif "steps" not in value:
        block += "steps: []\n"
    return block.encode()


EXAMPLES = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in PAGES
    for number, block in enumerate(blocks(path.read_text(encoding="utf-8"), "yaml"), 1)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_in_the_documents_is_a_sound_flow(example: str) -> None:
    _, warnings = parse_flow(flow_of(example), "example.yml", "/example.yml")
    if isinstance(yaml.safe_load(example), list):
        # What the steps take from others is not in an excerpt.
        warnings = [each for each in warnings if not re.search("no step (stores|or parameter gives) '", each.message)]
    assert warnings == []


def test_the_documents_have_examples() -> None:
    assert len(EXAMPLES) > 15


@pytest.mark.language("§4 Step types")
@pytest.mark.parametrize("kind", step_types())
def test_the_reference_shows_the_example_of_a_step_type(kind: str) -> None:
    text = dedent("    " + (find_step(kind).__doc__ or ""))
    example = text[text.index("- name: ") :].rstrip() + "\n"
    parse_flow(flow_of(example), "example.yml", "/example.yml")
    assert example in blocks(section(LANGUAGE, f"### {kind}"), "yaml")


@pytest.mark.language("§4 Step types")
@pytest.mark.parametrize("kind", step_types())
def test_the_reference_has_every_option_of_a_step_type_with_its_default(kind: str) -> None:
    told = {cells[0].strip("`"): cells[1].strip("`") for cells in rows(section(LANGUAGE, f"### {kind}"))}
    for option in options_of(find_step(kind)).values():
        default = "required" if option.required else "none" if option.default is None else str(option.default)
        assert told.get(option.name) == default, option.name
    for option in options_of(find_step(kind)).values():
        for choice in option.choices:
            assert f"`{choice}`" in section(LANGUAGE, f"### {kind}")


@pytest.mark.language("§1 A flow file")
def test_the_reference_has_every_property_and_nothing_else() -> None:
    assert words_of(section(LANGUAGE, "## A flow file")) == set(FLOW_PROPERTIES)
    assert words_of(section(LANGUAGE, "## Steps")) == set(STEP_PROPERTIES)
    assert words_of(section(LANGUAGE, "## Schedule")) == set(SCHEDULE_PROPERTIES)
    assert words_of(section(LANGUAGE, "## Parameters")) == set(PROPERTIES)
    assert {f"`{name}`" for name in TYPES} <= set(re.findall(r"`\w+`", section(LANGUAGE, "## Parameters")))


@pytest.mark.language("§2 Templates")
def test_the_reference_names_the_options_that_are_templates() -> None:
    told = {}
    for cells in rows(section(LANGUAGE, "## Templates")):
        for kind in re.findall(r"`(\w+)`", cells[0]):
            told[kind] = set(re.findall(r"`(\w+)`", cells[1]))
    known = {
        kind: {each.name for each in options_of(find_step(kind)).values() if each.template} for kind in step_types()
    }
    assert told == {kind: names for kind, names in known.items() if names}


@pytest.mark.language("§1 Data")
def test_the_reference_has_every_special_variable(run_flow: Callable[..., Any]) -> None:
    special = {name for name in run_flow("steps: []").result if name.startswith("__")}
    assert words_of(section(LANGUAGE, "## Data")) == special


@pytest.mark.language("§6 Settings")
def test_the_concepts_have_every_setting() -> None:
    source = Path(scflows.settings.__file__).read_text(encoding="utf-8")
    read = set(re.findall(r'"([A-Z][A-Z_]+_[A-Z]+|TIMEZONE)"', source)) | set(REMEMBERED)
    assert read <= words_of(section(DOCS / "concepts.md", "## Settings"))


def test_the_concepts_have_every_exit_code() -> None:
    text = section(DOCS / "concepts.md", "## Exit codes")
    told = {int(code) for codes in re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE) for code in codes.split(",")}
    classes = [each for each in vars(scflows.errors).values() if isinstance(each, type)]
    raised = {each.exit_code for each in classes if issubclass(each, ScflowsError)}
    assert raised <= told
    assert told - raised == {0, 3, 10, 124, 130, 143}


@cache
def app() -> Any:
    """The commands, built once."""
    return typer.main.get_command(build_app())


def command_lines(path: Path) -> Iterator[tuple[str, list[str], bool]]:
    """Every `flows` command line of a page: as written, its arguments, whether it stands in full."""
    text = path.read_text(encoding="utf-8")
    for block in [*blocks(text, "bash"), *blocks(text, "ini")]:
        for line in block.splitlines():
            words = shlex.split(line.partition("=")[2] if line.startswith("ExecStart") else line, comments=True)
            if words[:2] == ["docker", "exec"]:
                words = words[3:]
            if words and words[0].rpartition("/")[2] == "flows":
                yield line, words[1:], True
    for line in re.findall(r"^\$ flows (.*)$", text, re.MULTILINE):
        yield line, shlex.split(line), True
    for line in re.findall(
        r"`(?:\S*/)?flows\s+([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    ):
        yield line, shlex.split(line.replace("\\|", "|")), False


LINES = [
    pytest.param(words, is_full, id=f"{path.name}-{line}")
    for path in PAGES
    if path != GENERATED
    for line, words, is_full in command_lines(path)
]


@pytest.mark.parametrize(("words", "is_full"), LINES)
def test_a_command_line_in_the_documents_can_be_typed(words: list[str], is_full: bool) -> None:
    _, left = take_options(words)
    command = app()
    path = []
    while left and left[0] in getattr(command, "commands", {}):
        path.append(left.pop(0))
        command = command.commands[path[-1]]
    assert path or left == ["--help"]
    options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    known = options | {"--help", "-h"}
    assert {word for word in left if word.startswith("-")} <= known
    if is_full and left != ["--help"]:
        command.make_context(" ".join(path), left)


def test_the_command_reference_is_what_the_commands_say() -> None:
    spec = importlib.util.spec_from_file_location("make_commands", DOCS / "make_commands.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert GENERATED.read_text(encoding="utf-8") == made.reference(), "run: python docs/make_commands.py"


def anchors(path: Path) -> set[str]:
    """The anchors that headings of a page have, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: dict[str, int] = {}
    made = set()
    for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        count = found.get(name, 0)
        found[name] = count + 1
        made.add(f"{name}-{count}" if count else name)
    return made


@pytest.mark.parametrize("path", [*PAGES, *SHIPPED], ids=name_of)
def test_a_link_between_the_documents_leads_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.is_file(), target
        assert not anchor or anchor in anchors(there), target


def language_sections() -> dict[str, str]:
    """The sections of the language, as its page numbers them, and where each link leads."""
    found = {}
    text = LANGUAGE.read_text(encoding="utf-8")
    for number, links in re.findall(r"^- (§\d+) (.*?)(?=^- §|^$)", text, re.MULTILINE | re.DOTALL):
        for title, target in re.findall(r"\[([^]]+)\]\(([^)]+)\)", links):
            found[f"{number} {title}"] = f"flow-language.md{target}" if target.startswith("#") else target
    return found


def language_table() -> dict[str, set[str]]:
    """The tests of each section, as the table lists them."""
    listed: dict[str, set[str]] = {}
    here = ""
    known = language_sections()
    for line in (DOCS / "language-tests.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("| ") or line.startswith("| section"):
            continue
        section, statement, tests = (cell.strip() for cell in line.strip("|").split(" | "))
        if section:
            title, target = re.fullmatch(r"\[([^]]+)\]\(([^)]+)\)", section).groups()  # type: ignore[union-attr]
            assert known[title] == target
            assert title not in listed, title
            here = title
        assert statement
        assert tests
        listed.setdefault(here, set()).update(re.findall(r"`([^`]+)`", tests))
    return listed


def language_marks() -> tuple[dict[str, set[str]], set[str]]:
    """The sections that tests and files name with the marker `language`, and all tests there are."""
    marks: dict[str, set[str]] = {}
    tests = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        file = path.relative_to(ROOT).as_posix()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                name, marked_by = f"{file}::{node.name}", node.decorator_list
                tests.add(name)
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                name, marked_by = file, [node.value]
                tests.add(file)
            else:
                continue
            for call in (each for expression in marked_by for each in ast.walk(expression)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.language":
                    marks.setdefault(name, set()).update(ast.literal_eval(argument) for argument in call.args)
    return marks, tests


def test_every_section_of_the_language_has_its_tests() -> None:
    known = language_sections()
    page = {target.partition("#")[2] for target in known.values() if target.startswith("flow-language.md")}
    assert page == anchors(LANGUAGE) - {"the-flow-language"}
    assert list(language_table()) == list(known)


def test_every_test_in_the_table_names_its_section() -> None:
    marks, tests = language_marks()
    for section, listed in language_table().items():
        for name in listed:
            assert name in tests, name
            named = marks.get(name, set()) | marks.get(name.partition("::")[0], set())
            assert section in named, name


def test_every_test_that_names_a_section_is_in_the_table() -> None:
    listed = language_table()
    marks, _ = language_marks()
    assert len(marks) > 200
    for name, sections in marks.items():
        for section in sections:
            assert name in listed.get(section, set()), (section, name)


def marked(name: str) -> list[str]:
    """The lines of the one block of commands that stands below a mark in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(rf"^<!-- {name} -->\n```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    lines: list[str] = found[0].splitlines()
    return lines


def test_the_last_line_of_the_test_command_runs_the_tests() -> None:
    *install, run = marked("tests")
    assert run.startswith(".venv/bin/pytest ")
    assert install[0] == "python3 -m venv .venv"


def bash(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Lines of a document, with `.venv/bin/flows` and `flows` being the command that is tested."""
    program = folder / ".venv" / "bin" / "flows"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m scflows "$@"\n')
    program.chmod(0o755)
    return subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=folder,
        env={**environment, "PATH": f"{program.parent}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def test_the_first_run_shows_tasks_a_log_and_a_result_and_can_be_repeated(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    lines = marked("first run")
    assert lines[:2] == ["python3 -m venv .venv", ".venv/bin/pip install -q ."]
    for _ in range(2):
        done = bash("\n".join(lines[2:]), tmp_path, environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^weather-summary\tenabled\thourly at :\d\d\t\S+\tsuccess\t\S+$", done.stdout, re.MULTILINE)
        assert re.search(r"INFO +run \w+ success", done.stdout)
        assert "# Temperatures in Seattle" in done.stdout
    assert (
        bash(".venv/bin/flows clear-tasks --all --yes; flows list-tasks --all", tmp_path, environment).stdout.count(
            "\t"
        )
        == 0
    )


def test_the_hour_of_a_new_user_goes_as_it_is_told(tmp_path: Path, environment: dict[str, str]) -> None:
    page = DOCS / "getting-started.md"
    titles = ("A flow of your own", "Put it on the crontab", "Look at your tasks", "Change, pause, remove")
    text = "\n".join("\n".join(blocks(section(page, f"## {title}"), "bash")) for title in titles)
    # What goes on until it is stopped, and what tells that no cron is alive here.
    lines = [line for line in text.splitlines() if not line.endswith(" -f") and line != "flows check"]
    assert len(lines) > 15
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "space.yml").write_text(blocks(section(page, "## A flow of your own"), "yaml")[0])
    (tmp_path / "tasks" / "space.yml").chmod(0o644)
    done = bash("\n".join(lines), tmp_path, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    written = (tmp_path / "data" / "space.csv").read_text().splitlines()
    assert written[0] == "time,folder,free_kb"
    assert {line.split(",")[1] for line in written[1:]} == {"/", "/tmp"}
    assert bash("flows list-tasks", tmp_path, environment).stdout == ""


def test_readme_and_getting_started_can_be_followed_one_after_the_other(
    tmp_path: Path, environment: dict[str, str], crontab: Path
) -> None:
    readme, page = DOCS.parent / "README.md", DOCS / "getting-started.md"
    writing, own = section(readme, "## Write a flow"), section(page, "## A flow of your own")
    first = marked("first run")[2:]
    put = "cat > demo/tasks/ten.yml <<'EOF'\n" + blocks(writing, "yaml")[0] + "EOF"
    first += [put, *blocks(writing, "bash")]
    then: list[str] = []
    titles = ("Run an example", "A workspace of your own", "A flow of your own", "Put it on the crontab")
    for title in (*titles, "Look at your tasks", "Change, pause, remove", "Uninstall"):
        text = section(page, f"## {title}")
        if title == "A flow of your own":
            then.append("cat > tasks/space.yml <<'EOF'\n" + blocks(own, "yaml")[0] + "EOF\nchmod 644 tasks/space.yml")
        then += "\n".join(blocks(text, "bash")).splitlines()
    # What goes on until it is stopped, what tells that no cron is alive here, and what takes an id.
    left = [line for line in then if not line.endswith((" -f", " RUN")) and not line.startswith("flows check")]
    done = bash("\n".join([*first, *left]), tmp_path, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "error" not in done.stderr
    assert "scflows" not in crontab.read_text()
    assert (tmp_path / "home" / "first" / "data" / "space.csv").exists()


def test_the_step_type_that_the_guide_adds_works() -> None:
    page = section(DOCS / "how-it-is-built.md", "## Adding a step type")
    names: dict[str, Any] = {"__name__": __name__}
    exec(blocks(page, "python")[0], names)
    step = names["SlugifyStep"]
    assert set(options_of(step)) == {"text", "separator"}
    assert step(text="Air & Noise!").run(None) == "air-noise"
