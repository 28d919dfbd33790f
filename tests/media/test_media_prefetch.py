from __future__ import annotations

import threading
import time

import pytest

from pyemo.media import prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "pyemo-prefetch"]


def test_order_and_completeness():
    assert list(prefetch(range(1000), 3)) == list(range(1000))
    assert list(prefetch([], 1)) == []


def test_the_source_is_never_more_than_the_queue_ahead():
    produced, most = 0, 0

    def source():
        nonlocal produced
        for item in range(300):
            produced += 1
            yield item

    for consumed, _ in enumerate(prefetch(source(), 4)):
        if consumed % 50 == 0:
            time.sleep(0.01)  # lets the source run as far ahead as it can
        most = max(most, produced - consumed)
    # In the consumer's hands, in the queue, and waiting to be put.
    assert 4 <= most <= 6


def test_it_runs_in_another_thread():
    assert list(prefetch((threading.current_thread().name for _ in range(1)), 1)) == ["pyemo-prefetch"]


def test_an_error_comes_after_the_items_before_it():
    def source():
        yield 1
        raise KeyError("broken")

    items = prefetch(source(), 8)
    assert next(items) == 1
    with pytest.raises(KeyError, match="broken"):
        next(items)


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closing_ends_the_thread_and_closes_the_source(taken):
    closed, produced = [], 0

    def source():
        nonlocal produced
        try:
            while produced < 100_000:
                produced += 1
                yield produced
        finally:
            closed.append(threading.current_thread().name)

    items = prefetch(source(), 2)
    for _ in range(taken):
        next(items)
    items.close()
    assert not threads()
    assert closed == ["pyemo-prefetch"] * (taken > 0)
    assert produced <= taken + 5


def test_dropping_the_iterator_ends_the_thread():
    items = prefetch(iter(range(1_000_000)), 2)
    next(items)
    del items
    assert not threads()


def test_depth_is_checked():
    with pytest.raises(ValueError, match="depth"):
        next(prefetch([1], 0))
