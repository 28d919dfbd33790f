from __future__ import annotations

import itertools

import numpy as np
import pytest

from pyemo.media.association import assign, box_distance


def test_box_distance():
    boxes = np.array([[100.0, 100, 40, 40], [140, 100, 40, 40], [100, 100, 80, 80]])
    distance = box_distance(boxes[:1], boxes)
    assert distance[0].tolist() == pytest.approx([0, 1, np.log(2)])
    np.testing.assert_allclose(box_distance(boxes, boxes), box_distance(boxes, boxes).T)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 5), (5, 2), (0, 3), (3, 0)])
def test_assign_takes_most_pairs_within_the_gate_at_least_distance(shape):
    random = np.random.default_rng(shape[0] * 7 + shape[1])
    for _ in range(50):
        distance = random.uniform(0, 2, shape)
        pairs = assign(distance, 1.0)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
        assert all(distance[pair] <= 1 for pair in pairs)
        wide = distance if shape[0] <= shape[1] else distance.T
        best = (0, 0.0)
        for columns in itertools.permutations(range(wide.shape[1]), wide.shape[0]):
            within = [wide[row, column] for row, column in enumerate(columns) if wide[row, column] <= 1]
            best = min(best, (-len(within), sum(within)))
        assert (-len(pairs), sum(distance[pair] for pair in pairs)) == pytest.approx(best)


def test_gate_of_each_row():
    assert assign(np.array([[0.5, 0.9], [0.9, 0.5]]), np.array([[0.6], [0.4]])) == [(0, 0)]
