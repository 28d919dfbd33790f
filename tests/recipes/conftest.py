from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from shrunken import Trained, train_shrunken
from synthetic import put_in_place_of_dlib


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """For networks this small, threads that wait for one another cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _synthetic_detector(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.fixture
def pyemo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in ``tmp_path``: ``pyemo("train", ...)`` -> (exit status, standard output, standard error)."""
    from pyemo.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
