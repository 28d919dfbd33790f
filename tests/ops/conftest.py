from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyemo.ops.native import native


@pytest.fixture(params=native.supported_isas() if native else ["none"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test with each instruction set that this machine has."""
    if native is None:
        pytest.skip("pyemo was built without its native module")
    before = native.isa()
    native.set_isa(request.param)
    yield request.param
    native.set_isa(before)
