"""The workers: threads, because decoding, detection and encoding run outside Python's global lock."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyemo.contracts import Detector
from pyemo.data.preparation.faces import cache_clip, cache_images
from pyemo.data.preparation.outcome import Outcome, Trouble
from pyemo.data.preparation.plan import Job
from pyemo.data.preparation.sources import StoppedError
from pyemo.data.preparation.tools import Tools
from pyemo.data.preparation.voices import cache_voice
from pyemo.data.prepared import PreparedSettings
from pyemo.errors import PyemoError

Listener = Callable[[int, Path, float], None]
"""Called some times a second with the number of items (a row's face or voice) done, a file at work, and how many items' worth of the files
at work is done."""

_PATIENCE = 0.2  # seconds between two calls of the listener while nothing is finished


@dataclass(frozen=True)
class _End:
    """A worker's last word."""

    error: BaseException | None


class Crew:
    """Does jobs in ``workers`` threads; each thread makes a detector of its own when it needs one."""

    def __init__(
        self, folder: Path, settings: PreparedSettings, make_detector: Callable[[], Detector], workers: int
    ) -> None:
        self._results: queue.SimpleQueue[Outcome | Trouble | _End] = queue.SimpleQueue()
        self._tools = Tools(folder, settings, make_detector, self._results.put, self._share)
        self._workers = workers
        self._waiting: deque[Job] = deque()
        self._at_work: dict[int, tuple[Path, float]] = {}

    def work(
        self, jobs: Sequence[Job], note: Callable[[Outcome | Trouble], None], listener: Listener | None, done: int
    ) -> None:
        """Calls ``note``, in this thread, with what becomes of each item. However it is left, the workers have ended then, and all that
        they have finished was noted.

        ``done``: items that were done before, for the listener. Raises what went wrong with the output.
        """
        self._waiting.extend(jobs)
        names = [f"pyemo-prepare-{number}" for number in range(min(self._workers, len(jobs)))]
        threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
            while running:
                self._tell(listener, done)
                try:
                    result = self._results.get(timeout=_PATIENCE)
                except queue.Empty:
                    continue
                if isinstance(result, _End):
                    running -= 1
                    if result.error is not None:
                        raise result.error
                else:
                    done += 1
                    note(result)
        finally:
            self._tools.stop.set()
            for thread in threads:
                thread.join()
            while not self._results.empty():
                result = self._results.get()
                if not isinstance(result, _End):
                    note(result)

    def _tell(self, listener: Listener | None, done: int) -> None:
        at_work = list(self._at_work.copy().values())
        if listener and at_work:
            listener(done, at_work[0][0], sum(share for _, share in at_work))

    def _share(self, share: float) -> None:
        worker = threading.get_ident()
        self._at_work[worker] = (self._at_work[worker][0], share)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while not self._tools.stop.is_set():
                try:
                    job = self._waiting.popleft()
                except IndexError:
                    break
                self._at_work[threading.get_ident()] = (job.path, 0.0)
                if job.images:
                    cache_images(job, self._tools)
                elif job.items[0].modality == "voice":
                    cache_voice(job, self._tools)
                else:
                    cache_clip(job, self._tools)
        except StoppedError:
            pass
        except OSError as raised:  # what goes wrong with the input is an UnreadableError
            error = PyemoError(f"cannot write into {self._tools.folder}: {raised.strerror or raised}")
        except BaseException as raised:
            error = raised
        finally:
            self._at_work.pop(threading.get_ident(), None)
            self._results.put(_End(error))
