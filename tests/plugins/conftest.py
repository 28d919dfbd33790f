from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pyemo import plugins

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install(distribution, {group: {name: target}}, module=source, ...)``: a distribution with real metadata, ahead on ``sys.path``."""
    monkeypatch.delenv(plugins.ENVIRONMENT_VARIABLE, raising=False)
    modules: set[str] = set()

    def install_distribution(
        distribution: str,
        entry_points: Mapping[str, Mapping[str, str]] | str,
        *,
        version: str = "2.1",
        **sources: str,
    ) -> None:
        site = tmp_path / f"{distribution}-{version}"
        metadata = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        if not isinstance(entry_points, str):
            entry_points = "\n".join(
                f"[pyemo.{group}]\n" + "\n".join(f"{name} = {target}" for name, target in points.items())
                for group, points in entry_points.items()
            )
        (metadata / "entry_points.txt").write_text(entry_points)
        for module, source in sources.items():
            (site / f"{module}.py").write_text(source)
            modules.add(module)
        monkeypatch.syspath_prepend(str(site))
        plugins.refresh()

    yield install_distribution
    monkeypatch.undo()
    for module in modules:
        sys.modules.pop(module, None)
    importlib.invalidate_caches()
    plugins.refresh()
