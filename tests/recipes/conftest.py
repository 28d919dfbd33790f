from __future__ import annotations

from collections.abc import Callable

import pytest
from shrunken import Trained, train_shrunken
from synthetic import put_in_place_of_dlib


@pytest.fixture(autouse=True)
def _small_and_synthetic(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place_of_dlib(monkeypatch)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """``trained("mrpn")``: that recipe, shrunk and trained on a small data set in its layout; once a session."""
    folder = tmp_path_factory.mktemp("recipes")
    done: dict[str, Trained] = {}

    def train(name: str) -> Trained:
        if name not in done:
            parts = {"n0-late": ("ver", "ser")}.get(name, ())
            done[name] = train_shrunken(name, folder, {part: train(part).model for part in parts})
        return done[name]

    return train
