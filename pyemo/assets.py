"""Weight files that are not part of the package: known by SHA-256, fetched or imported once, kept under :func:`home`."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pyemo.errors import AssetError, did_you_mean
from pyemo.files import written_whole


@dataclass(frozen=True)
class Asset:
    name: str
    file: str
    sha256: str
    size: int
    """Bytes."""
    licence: str
    url: str
    """The file itself, or the page of its authors where there is no lasting address of the file."""
    purpose: str
    is_model: bool = False
    """Can be loaded by its name, as a model."""
    can_be_fetched: bool = True
    """Whether ``url`` is the file itself."""


_CANDIDE_PAGE = "http://www.bk.isy.liu.se/candide/"
ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            name="yunet",
            file="face_detection_yunet_2026may.onnx",
            sha256="ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
            size=229_738,
            licence="MIT",
            # media.githubusercontent.com gives the file itself; github.com/.../raw may give a Git LFS pointer.
            url="https://media.githubusercontent.com/media/opencv/opencv_zoo/47534e27c9851bb1128ccc0102f1145e27f23f98/"
            "models/face_detection_yunet/face_detection_yunet_2026may.onnx",
            purpose="weights of the face detector 'yunet' (OpenCV Zoo)",
        ),
        Asset(
            name="mini-xception-keras",
            file="fer2013_mini_XCEPTION.102-0.66.hdf5",
            sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
            size=872_856,
            licence="MIT",
            url="https://github.com/oarriaga/face_classification/raw/master/trained_models/emotion_models/"
            "fer2013_mini_XCEPTION.102-0.66.hdf5",
            purpose="face model: mini-Xception by its authors (Arriaga et al. 2017), trained on FER2013",
            is_model=True,
        ),
        Asset(
            name="candide3",
            file="candide3-14auv.wfm",
            sha256="073defcbb88315e75510d3e94f3ede42028644406e1f1e1059073fe326409cff",
            size=14_093,
            licence="free for research",
            url=_CANDIDE_PAGE,
            purpose="face mesh of action units: Candide-3 (Ahlberg 2001), 14 animation units",
            can_be_fetched=False,
        ),
        Asset(
            name="candide3-70auv",
            file="candide3-70auv.wfm",
            sha256="3f770b7420ced3a7252cde902c04a391f16b2fb8b54c5656d898f84a0d0f5e64",
            size=33_236,
            licence="free for research",
            url=_CANDIDE_PAGE,
            purpose="the same with 70 animation units, of MPEG-4 too; used where 'candide3' is absent",
            can_be_fetched=False,
        ),
    )
}

Progress = Callable[[int, int], None]
"""Called with the bytes so far and in all."""
_CHUNK = 1 << 16


def home() -> Path:
    """``PYEMO_HOME`` if set, else ``pyemo`` in the user's cache folder."""
    if configured := os.environ.get("PYEMO_HOME"):
        return Path(configured).expanduser()
    if sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "pyemo"


def models_home() -> Path:
    """Where imported models lie, a folder each."""
    return home() / "models"


def find(name: str) -> Asset:
    """The asset called ``name``.

    Raises:
        AssetError: there is none.
    """
    if name not in ASSETS:
        raise AssetError(
            f"no asset is called {name!r}" + did_you_mean(name, ASSETS, ".") + f" There are {', '.join(ASSETS)}."
        )
    return ASSETS[name]


def is_present(name: str) -> bool:
    """Whether the file of an asset is there; :func:`path` also verifies it."""
    return _place(find(name)).is_file()


def path(name: str) -> Path:
    """The file of an asset, its checksum verified.

    Raises:
        AssetError: unknown, absent (the message gives the commands that help) or changed.
    """
    asset = find(name)
    file = _place(asset)
    if not file.is_file():
        fetch = f"Fetch it with `pyemo assets pull {name}`; without a network, b" if asset.can_be_fetched else "B"
        raise AssetError(
            f"'{name}' ({asset.purpose}) is not on this machine. {fetch}ring the file from {asset.url} "
            f"and run `pyemo assets import {asset.file}`."
        )
    if (found := sha256(file)) != asset.sha256:
        again = (
            f"`pyemo assets pull {name}` fetches"
            if asset.can_be_fetched
            else f"`pyemo assets import {asset.file}` brings"
        )
        raise AssetError(f"{file} was changed: its SHA-256 is {found}, expected {asset.sha256}. {again} it again.")
    return file


def pull(name: str, progress: Progress | None = None) -> Path:
    """Download an asset, unless the right file is there already.

    Raises:
        AssetError: unknown asset, one that only its authors' page has, no network, a refusal of the server, or another file than expected.
            What was there stays.
    """
    asset = find(name)
    if is_present(name) and sha256(_place(asset)) == asset.sha256:
        return _place(asset)
    if not asset.can_be_fetched:
        raise AssetError(
            f"'{name}' has no lasting address; bring the file from {asset.url} and run `pyemo assets import {asset.file}`"
        )
    return _keep(asset, _download(asset), f"what {asset.url} sent", progress)


def import_file(file: str | os.PathLike[str], name: str | None = None) -> Asset:
    """Take a copy of a file that the user has; it is recognised by its SHA-256, whatever it is called.

    Args:
        file: the file.
        name: the asset that it must be.

    Raises:
        AssetError: unreadable, no known asset, or another than ``name``.
    """
    source = Path(file)
    try:
        checksum = sha256(source)
    except OSError as error:
        raise AssetError(f"cannot import {source}: {error.strerror or error}") from error
    known = {asset.sha256: asset for asset in ([find(name)] if name else ASSETS.values())}
    other = next((asset for asset in ASSETS.values() if asset.sha256 == checksum), None)
    if checksum not in known and other:
        raise AssetError(f"{source} is not {name} but {other.name} ({other.purpose})")
    if checksum not in known:
        expected = "; ".join(f"{asset.name}: {asset.file}, {asset.sha256}" for asset in known.values())
        raise AssetError(f"{source} is not {name or 'a known asset'}: its SHA-256 is {checksum}, expected {expected}")
    with source.open("rb") as stream:
        _keep(known[checksum], _chunks(stream), str(source), None)
    return known[checksum]


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        for chunk in _chunks(stream):
            digest.update(chunk)
    return digest.hexdigest()


def _place(asset: Asset) -> Path:
    return home() / "files" / asset.file


def _keep(asset: Asset, chunks: Iterable[bytes], origin: str, progress: Progress | None) -> Path:
    """Write ``chunks`` as the file of ``asset``, whole and verified."""
    digest = hashlib.sha256()
    done = 0
    with written_whole(_place(asset)) as temporary:
        with temporary.open("wb") as output:
            for chunk in chunks:
                done += len(chunk)
                if done > asset.size:  # for instance a page that asks to log in
                    break
                digest.update(chunk)
                output.write(chunk)
                if progress:
                    progress(done, asset.size)
        if done > asset.size:
            raise AssetError(f"{origin} is not {asset.file}: more than {asset.size} bytes")
        if (found := digest.hexdigest()) != asset.sha256:
            raise AssetError(
                f"{origin} is not {asset.file}: {done} bytes with the SHA-256 {found}, "
                f"expected {asset.size} bytes with {asset.sha256}"
            )
    return _place(asset)


def _download(asset: Asset) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(asset.url, timeout=30) as response:
            yield from _chunks(response)
    except (OSError, http.client.HTTPException) as error:  # OSError: URLError, HTTPError, time-outs, broken connections
        raise AssetError(
            f"cannot fetch '{asset.name}' from {asset.url}: {getattr(error, 'reason', None) or error}. "
            f"Without a network, bring the file from there and run `pyemo assets import {asset.file}`."
        ) from error


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk
