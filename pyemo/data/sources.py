"""``NAME:ROOT``: a data set plug-in and where its files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyemo import plugins
from pyemo.contracts import Manifest
from pyemo.data.labels import to_common
from pyemo.errors import DataError


def read_data(source: str, *, labels: str = "all", **options: Any) -> tuple[str, Manifest]:
    """Read ``NAME:ROOT`` (``distribution:NAME:ROOT`` where two plug-ins share a name) -> (NAME, manifest).

    Args:
        source: see above.
        labels: ``all``: the data set's own; ``common``: the common seven (:func:`pyemo.data.labels.to_common`). Works with every plug-in.
        options: of the plug-in.

    Raises:
        DataError: ``source`` is not of that form, ROOT is not there, its layout is not the data set's, or ``labels`` is neither.
        PluginError: no data set is called NAME.
    """
    qualified = (f"{item.distribution}:{item.name}" for item in plugins.info() if item.group == "datasets")
    name = next((name for name in qualified if source.startswith(f"{name}:")), source.partition(":")[0])
    root = source[len(name) + 1 :]
    if not root:
        raise DataError(f"--data {source!r}: expected NAME:ROOT, for instance fer2013:FOLDER")
    if labels not in ("all", "common"):
        raise DataError(f"labels={labels!r}: expected all or common")
    dataset = plugins.create("datasets", name, **options)
    if not Path(root).exists():
        raise DataError(f"--data {source!r}: {root} does not exist")
    manifest = dataset.read(Path(root))
    return name, to_common(manifest) if labels == "common" else manifest
