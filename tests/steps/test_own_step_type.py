"""A step type of another package: the page that shows how to make one, tried out."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs/own-step-type.md"
Flows = Callable[..., Any]


def block(language: str) -> str:
    """The page's block in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def installed(folder: Path, module: str, code: str, entry: str, name: str = "slugify-step") -> None:
    """What `pip install` leaves of a package: its module, and the metadata that name its entry points."""
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[scflows.steps]\n{entry}\n")


@pytest.fixture
def packages(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A folder of installed packages that the command finds."""
    folder = tmp_path / "packages"
    folder.mkdir()
    environment["PYTHONPATH"] = str(folder)
    return folder


@pytest.fixture
def slugify(packages: Path) -> Path:
    """The package of the page, installed."""
    (entry,) = tomllib.loads(block("toml"))["project"]["entry-points"]["scflows.steps"].items()
    installed(packages, "slugify_step", block("python"), " = ".join(entry))
    return packages


@pytest.mark.language("§4 Step types")
@pytest.mark.usefixtures("slugify")
def test_the_flow_of_the_page_runs_its_step(workspace: Path, flows: Flows) -> None:
    (workspace / "tasks/report.yml").write_text(block("yml"), encoding="utf-8")
    assert flows("validate", "tasks/report.yml").code == 0
    answer = flows("run", "report.yml", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)["data"]["slug"] == "report-plaça-de-l-àngel"


@pytest.mark.language("§4 Step types")
@pytest.mark.usefixtures("slugify")
def test_its_options_are_checked_as_those_of_any_step(workspace: Path, flows: Flows) -> None:
    flow = workspace / "tasks/bad.yml"
    flow.write_text("steps: [{name: a, type: slugify, slugify: {text: 5, separator: +, txt: a}}]\n")
    told = flows("validate", "tasks/bad.yml").out
    assert "'text' must be text, not an integer (5)" in told
    assert "'separator' must be one of -, _" in told
    assert "unknown option 'txt'; did you mean 'text'?" in told


@pytest.mark.usefixtures("slugify")
def test_it_is_listed_with_its_package(flows: Flows) -> None:
    rows = [line.split("\t") for line in flows("steps").out.splitlines()]
    assert ["slugify", "slugify-step", "Turn a text into lower-case words with a separator between."] in rows
    shown = flows("steps", "slugify").out
    assert "separator\ttext\t-\tno\t- _\twhat to put between the words" in shown
    assert shown.endswith('slugify: {text: "Air & Noise!", separator: "_"}\n')


@pytest.mark.usefixtures("slugify")
def test_the_schema_knows_it(flows: Flows) -> None:
    schema = json.loads(flows("schema").out)
    assert "slugify" in schema["$defs"]["step"]["properties"]["type"]["enum"]
    assert schema["$defs"]["type.slugify"]["properties"]["separator"]["enum"] == ["-", "_"]


@pytest.mark.language("§4 Step types")
def test_a_built_in_type_cannot_be_replaced(packages: Path, workspace: Path, flows: Flows) -> None:
    installed(packages, "mine", "raise SystemExit('loaded')", "sleep = mine:SleepStep")
    (workspace / "tasks/nap.yml").write_text("steps: [{name: a, type: sleep, sleep: {seconds: 0}}]\n")
    assert flows("run", "nap.yml").code == 0
    assert [line.split("\t")[1] for line in flows("steps").out.splitlines() if line.startswith("sleep\t")] == [
        "built-in"
    ]


BROKEN = {
    "an error": ("raise RuntimeError('no licence')", "no licence"),
    "no step": ("class BrokenStep: pass", "is not a subclass of Step"),
    "an option of no kind": (
        "from dataclasses import dataclass\nfrom scflows.steps import Step\n"
        "@dataclass(frozen=True)\nclass BrokenStep(Step):\n    when: set[str]\n",
        "has the unsupported type",
    ),
}


@pytest.mark.parametrize("title", BROKEN)
def test_one_that_cannot_be_used_refuses_its_flows_and_no_others(
    packages: Path, workspace: Path, flows: Flows, title: str
) -> None:
    code, reason = BROKEN[title]
    installed(packages, "broken", code, "broken = broken:BrokenStep", "broken-step")
    (workspace / "tasks/broken.yml").write_text("steps: [{name: a, type: broken, broken: {}}]\n")
    (workspace / "tasks/fine.yml").write_text("steps: []\n")
    answer = flows("run", "broken.yml")
    assert answer.code == 2
    assert reason in answer.err
    assert "tasks/broken.yml:1:" in answer.err or "broken.yml:1:" in answer.err
    assert flows("run", "fine.yml").code == 0
    listed = flows("steps")
    assert listed.code == 0
    assert reason in listed.out
    assert flows("steps", "sleep").code == 0
    assert flows("schema").code == 0


def test_annotations_may_be_classes_and_the_docstring_may_be_missing(
    packages: Path, workspace: Path, flows: Flows
) -> None:
    code = (
        "from dataclasses import dataclass\nfrom scflows.steps import Step\n"
        "@dataclass(frozen=True)\nclass PlainStep(Step):\n"
        "    text: str\n    many: list[int | str]\n    odd: dict[str, int] | None = None\n"
        "    def run(self, ctx): return self.text * 2\n"
    )
    installed(packages, "plain", code, "plain = plain:PlainStep", "plain-step")
    (workspace / "tasks/plain.yml").write_text("steps: [{name: a, type: plain, plain: {text: ab, many: [1]}}]\n")
    assert json.loads(flows("run", "plain.yml", "--json").out)["data"]["a"] == "abab"
    shown = flows("steps", "plain").out
    assert "odd\tmapping\t" in shown
    assert shown.endswith("- name: plain\n  type: plain\n  plain: {text: TEXT, many: []}\n")
