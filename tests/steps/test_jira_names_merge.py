"""Flow language, jira_names_merge."""

from __future__ import annotations

import pytest

from scflows.errors import StepError

pytestmark = pytest.mark.language("§4 jira_names_merge")

FOUND = {
    "names": {
        "customfield_1": "Due-Date v.2",
        "customfield_2": "summary",
        "customfield_3": "Same",
        "customfield_4": "same",
    },
    "issues": [
        {
            "key": "A-1",
            "fields": {
                "customfield_2": "taken",
                "summary": "kept",
                "customfield_1": "2024-03-05",
                "customfield_3": 0,
                "customfield_4": False,
                "customfield_9": "nameless",
                "a": None,
                "b": "",
                "c": [],
                "d": {},
            },
        }
    ],
}


def test_fields_get_readable_names_and_empty_ones_go(perform):
    result = perform("jira_names_merge", {"data_key": "found"}, {"found": FOUND})
    assert result[0]["fields"] == {
        "summary_2": "taken",
        "summary": "kept",
        "due_date_v_2": "2024-03-05",
        "same": 0,
        "same_4": False,
        "customfield_9": "nameless",
    }
    assert result[0]["key"] == "A-1"
    assert "customfield_1" in FOUND["issues"][0]["fields"]


def test_a_missing_list_is_empty_and_missing_names_are_an_error(perform):
    assert perform("jira_names_merge", {"data_key": "f", "list_key": "values"}, {"f": FOUND}) == []
    with pytest.raises(StepError, match="expand=names"):
        perform("jira_names_merge", {"data_key": "f"}, {"f": {"issues": []}})
