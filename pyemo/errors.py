"""Every error that pyemo raises on purpose.

The command line prints the message of a :class:`PyemoError` without a traceback. A message names the offending file, key, shape or
dtype and says what was expected.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PyemoError(Exception):
    """Base class: something the user can mend."""


class ConfigError(PyemoError, ValueError):
    """A recipe or an override has an unknown key, a wrong type or an impossible value."""


class PluginError(PyemoError):
    """A plug-in is unknown, broken, blocked, ambiguous, or breaks its contract."""


class MediaError(PyemoError):
    """An image, video or sound cannot be found or decoded."""


class DataError(PyemoError, ValueError):
    """A data set's files or labels are not what its layout promises."""


class AssetError(PyemoError):
    """A file that is not part of the package (weights, a mesh) is absent, altered or not in its format."""


class ModelError(PyemoError):
    """A model folder is incomplete, or its weights do not fit its configuration."""


class TrainingError(PyemoError):
    """A training run cannot go on, for instance because its loss is not finite."""


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """``"; did you mean 'NAME'?"`` for a message about an unknown ``word``, or ``otherwise`` where no known name is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else otherwise
