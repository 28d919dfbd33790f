"""From pictures and videos to emotions: ``load()`` gives a :class:`Recogniser`, its ``predict`` a :class:`Result`."""

from __future__ import annotations

from pyemo.recognition.recogniser import Recogniser, load
from pyemo.recognition.result import FaceSummary, Result

__all__ = ["FaceSummary", "Recogniser", "Result", "load"]
