"""Files that are there completely or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyemo.errors import PyemoError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` to write to; it becomes ``path`` when the block ends without an exception.

    The temporary name ends as ``path`` does, for writers that go by the extension. Folders are made as needed.

    Raises:
        PyemoError: the file cannot be written; ``path`` is as it was before.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=f"-{path.name}", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise PyemoError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Makes ``folder`` if it is not there; raises :class:`~pyemo.errors.PyemoError` unless files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise PyemoError(f"cannot write into {folder}: {error.strerror or error}") from error


def _umask() -> int:
    """The permissions that the user's new files lack; ``mkstemp`` would keep them from everybody else."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
