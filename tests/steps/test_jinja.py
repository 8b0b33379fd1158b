"""What `jinja` promises: names, folders, parsing."""

from __future__ import annotations

import pytest

from scflows.errors import StepError

pytestmark = pytest.mark.language("§4 jinja")


@pytest.fixture
def template(workspace):
    folder = workspace / "data/templates"
    folder.mkdir(parents=True)

    def write(text, name="t.j2"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    return write


DATA = {"__job_id__": "7", "limits": {"low": 2, "high": 9}, "rows": [1, 2]}


@pytest.mark.parametrize(
    ("data_key", "text", "result"),
    [
        (".", "{{ limits.low }} {{ rows | length }} {{ __job_id__ }}", "2 2 7"),
        (".", "{{ data.rows[0] }}", "1"),
        ("limits", "{{ low }}-{{ data.high }} {{ __job_id__ }} {{ rows }}", "2-9 7 "),
        ("rows", "{% for row in data %}{{ row }};{% endfor %}", "1;2;"),
        ("limits", "<{{ '&' }}>\n", "<&>"),
    ],
)
def test_the_names_of_a_template(perform, template, data_key, text, result):
    template(text)
    assert perform("jinja", {"path": "t.j2", "data_key": data_key}, DATA) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ rows[0] }}\n", "1"),
        ("{{ rows[0] }}\r\n", "1"),
        ("a\n{{ rows[1] }}\n\n", "a\n2\n"),
        ("{% include 'part.j2' %};\n", "part;"),
        ("{{ low | default('a\n') }}", "a\n"),
        ("\n", ""),
    ],
)
def test_the_last_line_end_of_a_template_file_is_not_part_of_it(perform, template, text, result):
    template("part\n", "part.j2")
    template(text)
    assert perform("jinja", {"path": "t.j2"}, DATA) == result


def test_a_key_named_data_is_that_key(perform, template):
    template("{{ data }} {{ __job_id__ }}")
    found = perform("jinja", {"path": "t.j2", "data_key": "v"}, {**DATA, "v": {"data": 5, "__job_id__": "fake"}})
    assert found == "5 7"


@pytest.mark.language("§2 Templates")
def test_braces_that_come_out_of_data_stay(perform, template):
    template("{{ text }}")
    assert perform("jinja", {"path": "t.j2"}, {"text": "{{ 1 + 1 }}"}) == "{{ 1 + 1 }}"


def test_templates_find_each_other(perform, template):
    template("[{% block b %}{% endblock %}]", "parts/base.j2")
    template("{% extends 'parts/base.j2' %}{% block b %}{% include 'parts/é.j2' %}{% endblock %}")
    template("é", "parts/é.j2")
    assert perform("jinja", {"path": "t.j2"}, {}) == "[é]"


def test_a_template_beside_the_flow_is_found_after_the_folder(perform, template, workspace):
    (workspace / "tasks/near.j2").write_text("near")
    assert perform("jinja", {"path": "near.j2"}, {}) == "near"
    template("far", "near.j2")
    assert perform("jinja", {"path": "near.j2"}, {}) == "far"


@pytest.mark.parametrize(
    ("parse", "text", "result"),
    [
        ("json", '{"n": {{ rows | length }}}', {"n": 2}),
        ("yaml", "{% for row in rows %}- {{ row }}\n{% endfor %}", [1, 2]),
        ("yaml", "2024-03-05", "2024-03-05"),
    ],
)
def test_the_text_is_parsed_when_asked(perform, template, parse, text, result):
    template(text)
    assert perform("jinja", {"path": "t.j2", "parse": parse}, DATA) == result


@pytest.mark.parametrize(
    ("parse", "text", "told"),
    [
        ("json", "{{ rows }} and more", "the output of t.j2: invalid JSON"),
        ("json", "1\n2", "invalid JSON"),
        ("yaml", "a: [", "the output of t.j2: YAML"),
        (None, "{{ ''.__class__ }}", "cannot access"),
        (None, "{% if %}", "t.j2"),
        (None, "{{ nothing.at.all }}", "nothing"),
        (None, "{% include 'gone.j2' %}", "'gone.j2' not found in the templates folder"),
    ],
)
def test_what_a_template_cannot_do_is_a_step_error(perform, template, parse, text, told):
    template(text)
    with pytest.raises(StepError) as caught:
        perform("jinja", {"path": "t.j2", "parse": parse}, DATA)
    assert told in str(caught.value)


@pytest.mark.language("§4 Paths")
@pytest.mark.parametrize("path", ["gone.j2", "../secrets.yml", "/etc/hostname", ""])
def test_no_path_leads_out_of_the_templates(perform, template, path):
    with pytest.raises(StepError):
        perform("jinja", {"path": path}, {})


def test_a_missing_key_is_a_step_error(perform, template):
    template("x")
    with pytest.raises(StepError, match="no key 'gone'"):
        perform("jinja", {"path": "t.j2", "data_key": "gone"}, {})
