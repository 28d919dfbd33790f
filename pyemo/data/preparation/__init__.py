"""``pyemo prepare``: decodes a data set once, finds the faces, and keeps crops and waveforms in a folder that is fast to read."""

from pyemo.data.preparation.crew import Listener
from pyemo.data.preparation.run import Preparation, prepare
from pyemo.data.preparation.tables import ERRORS, Failure

__all__ = ["ERRORS", "Failure", "Listener", "Preparation", "prepare"]
