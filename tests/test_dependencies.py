"""What scflows imports is declared in pyproject.toml, and constraints.txt has a version of each that fits."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {
    extra: {canonicalize_name(Requirement(each).name) for each in needed}
    for extra, needed in PROJECT["optional-dependencies"].items()
}
CORE = {canonicalize_name(Requirement(each).name) for each in PROJECT["dependencies"]}
#: Distributions by the module that they bring.
DISTRIBUTIONS = {
    module: {canonicalize_name(each) for each in names} for module, names in packages_distributions().items()
}


def imported() -> dict[str, str]:
    """The third-party modules that scflows imports, each with a file that does."""
    found = {}
    for path in sorted((ROOT / "scflows").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                found[name.partition(".")[0]] = str(path.relative_to(ROOT))
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, "scflows"}}


def test_each_third_party_import_belongs_to_a_declared_dependency() -> None:
    declared = CORE.union(*(needed for extra, needed in EXTRAS.items() if extra != "test"))
    found = imported()
    assert {"typer", "yaml", "numpy"} <= found.keys()
    undeclared = {name: path for name, path in found.items() if not DISTRIBUTIONS.get(name, set()) & declared}
    assert not undeclared


def test_each_declared_dependency_is_imported() -> None:
    brought = set().union(*(DISTRIBUTIONS[name] for name in imported()))
    # Formats of tables are imported by name; each names its extra.
    for path in (ROOT / "scflows").rglob("*.py"):
        for module, extra in re.findall(r'import_optional\("([\w.]+)", "(\w+)"\)', path.read_text(encoding="utf-8")):
            distributions = DISTRIBUTIONS[module.partition(".")[0]]
            assert distributions & EXTRAS[extra], (path, module, extra)
            brought |= distributions
    for needed in (CORE, *(EXTRAS[extra] for extra in EXTRAS if extra != "test")):
        assert needed <= brought


def test_constraints_have_a_version_of_each_dependency_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pinned.items()}
    assert "scflows" not in versions
    for text in [
        *PROJECT["dependencies"],
        *(each for needed in PROJECT["optional-dependencies"].values() for each in needed),
    ]:
        each = Requirement(text)
        if each.name != "scflows":
            assert each.specifier.contains(versions[canonicalize_name(each.name)]), text
