"""Images that stand in several splits."""

from __future__ import annotations

import hashlib

import numpy as np

from pyemo.contracts import Manifest
from pyemo.errors import DataError


def unseen(manifest: Manifest, split: str) -> np.ndarray:
    """For each row of ``split``, in order: true where no image of another split has the same pixels. (rows,) bool.

    Raises:
        DataError: the data set does not hand over its images.
    """
    if manifest.images is None:
        raise DataError("duplicates can be found only in a data set that hands over its images")
    digests = np.array([hashlib.sha256(image.tobytes()).hexdigest() for image in manifest.images])
    inside = (manifest.table["split"] == split).to_numpy()
    return ~np.isin(digests[inside], digests[~inside])
