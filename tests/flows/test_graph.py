"""Which steps of a graph can start."""

from __future__ import annotations

import random

import pytest

from scflows.flows.graph import Graph, cycle, unrelated

pytestmark = pytest.mark.language("§9 Graph order")


def test_a_step_can_start_when_all_it_needs_have_ended():
    graph = Graph([[], [], [0, 1], [2]])
    assert graph.first() == [0, 1]
    assert graph.ended(1) == []
    assert graph.ended(0) == [2]
    assert graph.ended(2) == [3]


def test_what_needs_a_failed_step_is_lost_with_all_that_needs_it():
    graph = Graph([[], [0], [1], [], [3, 2]])
    assert graph.failed(0) == [1, 2, 4]
    assert graph.ended(3) == []


@pytest.mark.parametrize(
    ("needs", "expected"),
    [([[]], []), ([[0]], [0]), ([[1], [0]], [0, 1]), ([[], [0], [1, 3], [2]], [2, 3]), ([[1, 2], [3], [3], []], [])],
    ids=str,
)
def test_a_cycle_is_found(needs, expected):
    assert cycle(needs) == expected


def test_two_steps_are_unrelated_when_neither_needs_the_other():
    needs: list[list[int]] = [[], [0], [1], [0]]
    assert unrelated(needs, [0, 2]) is None
    assert unrelated(needs, [2, 3]) == (2, 3)


def test_every_order_of_ending_starts_every_step_once_after_what_it_needs():
    chance = random.Random(7)
    for _ in range(200):
        count = chance.randrange(1, 15)
        needs = [[other for other in range(number) if chance.random() < 0.3] for number in range(count)]
        graph, ended = Graph(needs), set()
        ready = graph.first()
        while ready:
            number = ready.pop(chance.randrange(len(ready)))
            assert set(needs[number]) <= ended
            assert number not in ended
            ended.add(number)
            ready += graph.ended(number)
        assert len(ended) == count


def test_a_long_chain_is_no_deep_recursion():
    needs = [[number - 1] if number else [] for number in range(20000)]
    assert cycle(needs) == []
    assert unrelated(needs, [0, 19999]) is None
    assert len(Graph(needs).failed(0)) == 19999
