from __future__ import annotations

import pytest

from pyemo.nn import dense, feed_forward


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the small networks of these tests go through oneDNN, and in chunks."""
    monkeypatch.setattr(dense, "_LEAST_OPERATIONS", 0)
    monkeypatch.setattr(feed_forward, "_CHUNK_BYTES", 2**10)
