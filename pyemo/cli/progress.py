"""How far a batch has come, on a terminal; elsewhere nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from pyemo.recognition.batch import Listener


@contextmanager
def batch_progress(inputs: int) -> Iterator[Listener]:
    """A bar with the inputs done, the one at work, and the time left; it is gone when the block ends."""
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[done]}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=inputs, done=0)

        def listen(done: int, path: Path, share: float) -> None:
            bar.update(task, completed=done + share, done=done, description=path.name)

        yield listen


@contextmanager
def preparation_progress() -> Iterator[Listener]:
    """The number of faces and sounds that are prepared, and the file at work, for as long as the block lasts."""
    console = Console(stderr=True)
    columns = (
        TextColumn("prepared {task.fields[done]}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, done=0)

        def listen(done: int, path: Path, share: float) -> None:
            bar.update(task, done=done, description=path.name)

        yield listen


@contextmanager
def measuring_progress() -> Iterator[Callable[[int, int], None]]:
    """A bar with the inputs whose landmarks are measured, and the time left; it is gone when the block ends."""
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} measured"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=0)

        def listen(done: int, inputs: int) -> None:
            bar.update(task, completed=done, total=inputs)

        yield listen
