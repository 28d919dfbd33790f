"""Running an iterator in a thread of its own, a bounded distance ahead of its consumer."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from queue import Queue
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def prefetch(source: Iterable[T], depth: int = 8) -> Generator[T, None, None]:
    """Yields what ``source`` yields; ``source`` runs in a background thread, at most ``depth`` finished items ahead.

    Pays where ``source`` spends its time outside Python's global lock, as decoding (FFmpeg) and face detection (dlib, OpenCV) do.
    An exception in ``source`` is raised in the consumer after the items before it. The thread starts with the first item asked for,
    and has ended when the generator is exhausted or closed; ``source`` is closed in its thread if it is a generator.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    queue: Queue[T | _End] = Queue(maxsize=depth)
    stop = threading.Event()

    def produce() -> None:
        error = None
        iterator = iter(source)
        try:
            for item in iterator:
                queue.put(item)
                if stop.is_set():
                    break
        except BaseException as raised:
            error = raised
        finally:
            if isinstance(iterator, Generator):
                iterator.close()
            queue.put(_End(error))

    thread = threading.Thread(target=produce, name="pyemo-prefetch", daemon=True)
    thread.start()
    end = None
    try:
        while True:
            item = queue.get()
            if isinstance(item, _End):
                end = item
                break
            yield item
    finally:
        stop.set()
        while end is None:  # an emptied queue lets the thread come to its end
            item = queue.get()
            end = item if isinstance(item, _End) else None
        thread.join()
    if end.error is not None:
        raise end.error
