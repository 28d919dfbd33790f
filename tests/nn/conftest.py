from __future__ import annotations

import pytest

from pyemo.nn import feed_forward


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the small networks of these tests have some."""
    monkeypatch.setattr(feed_forward, "_CHUNK_BYTES", 2**10)
