"""The `jobs` in the `config.yml` of a working folder, as a flow whose steps are of type `folder`."""

from __future__ import annotations

import os

from scflows.config import config_of
from scflows.connectors.folders import Pair, chain_order
from scflows.flows.model import Flow, StepSpec
from scflows.steps.registry import find_step
from scflows.validation import described

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scflows.flows.step_parser import StepReader
    from scflows.validation import Located

CONFIG = "config.yml"
STEP_TYPE = "folder"


def folder_flow(document: Located, reader: StepReader, path: str, file: str) -> Flow | None:
    """Return the flow of a working folder; all mistakes in its file are added to the document.

    The jobs come in the order of the chain: each after those that make its sources.
    """
    top: dict[Any, Any] = document.value or {}
    config_of(document, top)
    jobs = document.typed(top, "jobs", "list", [])
    before = len(document.mistakes)
    specs = []
    names: set[str] = set()
    for index, job in enumerate(jobs):
        spec = _job(document, reader, job, index)
        if spec is not None:
            if spec.name in names:
                document.mistake(f"job {spec.name!r}: another job has the same name", "jobs", index, "name")
            names.add(spec.name)
            specs.append(spec)
    if not any(mistake.severity == "error" for mistake in document.mistakes[before:]):
        order = chain_order([Pair.of(spec.options) for spec in specs])
        if order is None:
            document.mistake("jobs: some of them make each other's sources, in a circle", "jobs")
        else:
            specs = [specs[at] for at in order]
    return Flow(
        path=path,
        file=file,
        name=os.path.basename(os.path.dirname(file)) or path,
        steps=specs,
        params={
            "job": {"type": "text", "choices": [spec.name for spec in specs], "help": "the only job to run"},
            "newer": {"type": "boolean", "help": "make targets again if a source is newer"},
        },
        is_folder=True,
    )


def _job(document: Located, reader: StepReader, job: Any, index: int) -> StepSpec | None:
    at = ("jobs", index)
    if not isinstance(job, dict):
        document.mistake(f"job {index + 1} must be a mapping, not {described(job)}", *at)
        return None
    name = job.get("name")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        document.mistake(f"job {index + 1} {'has no' if name is None else 'needs a text as'} `name`", *at, "name")
        return None
    step_class = find_step(STEP_TYPE)
    assert step_class is not None
    written = {key: value for key, value in job.items() if key != "name"}
    options = reader.options_in(written, step_class, f"job {name!r}", at)
    return StepSpec(name, STEP_TYPE, options, line=document.place(*at)[0])
