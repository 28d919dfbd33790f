"""What a worker works with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyemo.contracts import Detector
from pyemo.data.preparation.outcome import Outcome, Trouble
from pyemo.data.preparation.plan import Item, passes
from pyemo.data.preparation.sources import UnreadableError
from pyemo.data.prepared import PreparedSettings
from pyemo.errors import PyemoError


@dataclass(frozen=True)
class Tools:
    folder: Path
    settings: PreparedSettings
    make_detector: Callable[[], Detector]
    report: Callable[[Outcome | Trouble], None]
    """Takes what became of an item; may be called by any worker."""
    share: Callable[[float], None]
    """Takes the share of the job at hand that is done, 0 to 1."""
    stop: threading.Event = field(default_factory=threading.Event)
    _own: threading.local = field(default_factory=threading.local)

    def detector(self) -> Detector:
        """The worker's own: a detector may be used by one thread at a time."""
        if not hasattr(self._own, "detector"):
            self._own.detector = self.make_detector()
        detector: Detector = self._own.detector
        return detector

    def fail(self, item: Item, error: Exception) -> None:
        message = str(error) if isinstance(error, PyemoError) else f"{item.path}: {error!r}"
        self.report(Trouble(item.key, type(error).__name__, message))

    def run(self, items: Sequence[Item], outcomes: Callable[[Sequence[Item], Tools], Iterator[Outcome]]) -> None:
        """Report the parts of one file, each as soon as it is done. The one that cannot be read fails; a new pass begins behind it.

        Args:
            items: of the file.
            outcomes: of one pass through it; raises :class:`UnreadableError` at the first part that cannot be read.
        """
        waiting = list(passes(items))
        while waiting:
            group, done = waiting.pop(), 0
            try:
                for outcome in outcomes(group, self):
                    self.report(outcome)
                    done += 1
            except UnreadableError as error:
                self.fail(group[done], error.cause)
                if group[done + 1 :]:  # may yet be readable, from a new start
                    waiting.append(group[done + 1 :])
