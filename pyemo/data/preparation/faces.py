"""From clips and images to files of face crops."""

from __future__ import annotations

import hashlib
import io
import math
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

import cv2
import numpy as np

from pyemo.contracts import Face
from pyemo.data.face_files import FaceIndex, encode_face, write_faces
from pyemo.data.preparation.outcome import Outcome
from pyemo.data.preparation.plan import Item, Job
from pyemo.data.preparation.sources import (
    ImageFile,
    ImageSequence,
    Parts,
    Timed,
    UnreadableError,
    guarded,
    sequence_rate,
)
from pyemo.data.preparation.tools import Tools
from pyemo.data.prepared import FACE, PreparedSettings
from pyemo.errors import MediaError
from pyemo.media import VideoFrame, VideoReader, crop_faces, kind, read_image, track_faces
from pyemo.media.association import box_distance

_PATIENCE = 3.0
"""Seconds for which a lost face may come back, near where it was, as the same person. Longer than in recognition, which shows a new track
for it: here what is not in the main track is lost."""
_SAME_PLACE = 0.5
"""Box distance up to which a track continues an earlier one."""
_WHOLE = (0.0, 0.0, 1.0, 1.0)
"""Box of a face that is the whole image."""
_SPOOLED = 16 << 20
"""Bytes of a clip's crops that wait in memory; more wait in a temporary file."""
_JPEG = b"\xff\xd8"

T = TypeVar("T")
TimedT = TypeVar("TimedT", bound=Timed)


@dataclass(frozen=True)
class _Crop:
    track: int
    box: tuple[float, float, float, float]
    """Of the face in the source: x, y, width, height."""
    encoded: bytes


@dataclass(frozen=True)
class _Seen:
    """A frame with its faces."""

    number: int
    time: float
    crops: list[_Crop]


@dataclass
class _Track:
    numbers: array[int] = field(default_factory=lambda: array("i"))
    times: array[float] = field(default_factory=lambda: array("d"))
    pieces: list[tuple[int, int]] = field(default_factory=list)
    """Position in the temporary file, and bytes."""
    extent: float = 0.0
    """Sum of the face's sides over the frames."""
    first: np.ndarray = field(default_factory=lambda: np.zeros(4))
    last: np.ndarray = field(default_factory=lambda: np.zeros(4))
    """Centre x, centre y, width and height in its first and its last frame."""

    def add(self, frame: _Seen, box: tuple[float, float, float, float], piece: tuple[int, int]) -> None:
        x, y, width, height = box
        self.last = np.array((x + width / 2, y + height / 2, width, height))
        if not self.pieces:
            self.first = self.last
        self.numbers.append(frame.number)
        self.times.append(frame.time)
        self.pieces.append(piece)
        self.extent += math.sqrt(width * height)

    def goes_on_as(self, later: _Track) -> float:
        """How far ``later`` begins from where this one ends (:func:`pyemo.media.association.box_distance`); infinity if before."""
        if later.numbers[0] <= self.numbers[-1]:
            return math.inf
        return float(box_distance(self.last[None], later.first[None])[0, 0])

    def append(self, later: _Track) -> None:
        self.numbers += later.numbers
        self.times += later.times
        self.pieces += later.pieces
        self.extent += later.extent
        self.last = later.last


def cache_clip(job: Job, tools: Tools) -> None:
    """The crops of a video, of a folder of images, or of parts of it; reports each part as soon as it is done."""
    if not job.path.is_dir() and _is_sound(job.path):
        for item in job.items:
            tools.report(Outcome(item.key, "face", problem="the file is a sound, it has no pictures"))
        return
    tools.run(job.items, _outcomes)


def _is_sound(path: Path) -> bool:
    try:
        return kind(path) == "audio"
    except MediaError:  # opening it will tell more
        return False


def _outcomes(group: Sequence[Item], tools: Tools) -> Iterator[Outcome]:
    """One pass through a file. Raises :class:`UnreadableError` at the first part that cannot be read."""
    with _open(group[0]) as source:
        for item, seen, parts in _parts(group, source, tools):
            with tempfile.SpooledTemporaryFile(_SPOOLED, dir=str(tools.folder)) as spool:
                people = _spool(guarded(seen, tools.stop), spool)
                # Of a folder also those images that cannot be read.
                frames = len(source.paths) if item.whole and isinstance(source, ImageSequence) else parts.count
                yield _write(item, people, frames, source.warning, spool, tools.folder)


def _open(item: Item) -> VideoReader | ImageSequence:
    try:
        if item.path.is_dir():
            return ImageSequence(
                item.path, rate=sequence_rate(item.sound), numbers=item.numbers, numbered=item.numbered
            )
        return VideoReader(item.path)
    except MediaError as error:
        raise UnreadableError(error) from error


def _parts(
    group: Sequence[Item], source: VideoReader | ImageSequence, tools: Tools
) -> Iterator[tuple[Item, Iterator[_Seen], Parts[ImageFile] | Parts[VideoFrame]]]:
    """Each item with its frames, which have to be taken before the next item is asked for."""
    settings = tools.settings
    if group[0].cropped and isinstance(source, ImageSequence):
        files = Parts(_counted(source.files(), len(source.paths), tools))
        for item in group:
            wanted = _thinned(files.part(item.start, item.end), item, settings)
            yield item, _cropped_files(wanted, source, settings), files
        return
    expected = len(source.paths) if isinstance(source, ImageSequence) else source.info.frame_count
    frames = Parts(_counted(source, expected, tools))
    for item in group:
        part = frames.part(item.start, item.end)
        if item.cropped:
            yield item, _cropped_frames(_thinned(part, item, settings), settings), frames
        else:
            yield item, _found_faces(part, item, tools), frames


def _counted(frames: Iterable[T], expected: int | None, tools: Tools) -> Iterator[T]:
    """Passes them on and reports what share of them is done."""
    for done, frame in enumerate(frames):
        if expected:
            tools.share(min(done / expected, 1.0))
        yield frame


class _Thinning:
    """At most so many frames a second: the first in each interval of 1 / rate that has one, intervals being centred on its multiples."""

    def __init__(self, item: Item, rate: float | None) -> None:
        self._start = item.start if math.isfinite(item.start) else 0.0
        self._rate = rate
        self._last = -1

    def keeps(self, time: float) -> bool:
        if self._rate is None:
            return True
        interval = round((time - self._start) * self._rate)
        kept = interval > self._last
        self._last = max(self._last, interval)
        return kept


def _thinned(frames: Iterable[TimedT], item: Item, settings: PreparedSettings) -> Iterator[TimedT]:
    thinning = _Thinning(item, settings.frame_rate)
    return (frame for frame in frames if thinning.keeps(frame.time))


def _cropped_frames(frames: Iterable[VideoFrame], settings: PreparedSettings) -> Iterator[_Seen]:
    for frame in frames:
        yield _Seen(frame.index, frame.time, [_Crop(0, _WHOLE, encode_face(_fitted(frame.image, settings)))])


def _cropped_files(files: Iterable[ImageFile], source: ImageSequence, settings: PreparedSettings) -> Iterator[_Seen]:
    troubles: list[str] = []
    for file in files:
        try:
            encoded = _cropped_file(file.path, settings)
        except MediaError as error:
            troubles.append(str(error))
            continue
        yield _Seen(file.index, file.time, [_Crop(0, _WHOLE, encoded)])
    source.warning = source.describe(troubles)


def _cropped_file(path: Path, settings: PreparedSettings) -> bytes:
    """An image that is a face: a JPEG file of the right size is taken as it is, so that it loses nothing."""
    image = read_image(path)
    if image.shape[:2] == (settings.size, settings.size):
        content = path.read_bytes()
        # Grey made of a coloured JPEG file by its decoder is not quite the grey of crop_faces.
        if content[:2] == _JPEG and (settings.channels == 3 or _is_grey(content)):
            return content
    return encode_face(_fitted(image, settings))


def _is_grey(content: bytes) -> bool:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return image is not None and image.ndim == 2


def _fitted(image: np.ndarray, settings: PreparedSettings) -> np.ndarray:
    """A whole image, RGB or grey, as a crop: RGB (S, S, 3) or grey (S, S)."""
    from pyemo.data.faces import resize_faces  # brings PyTorch, which nothing else here needs

    image = resize_faces(image[None], settings.size)[0]
    if settings.channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


def _found_faces(frames: Iterable[VideoFrame], item: Item, tools: Tools) -> Iterator[_Seen]:
    detector, settings = tools.detector(), tools.settings
    thinning = _Thinning(item, settings.frame_rate)
    for tracked in track_faces(frames, detector, every=settings.every, patience=_PATIENCE):
        frame = tracked.frame
        if thinning.keeps(frame.time):
            faces = [face.face for face in tracked.faces]
            encoded = _crops(frame.image, faces, tools)
            crops = [
                _Crop(face.track, face.face.box, content) for face, content in zip(tracked.faces, encoded, strict=True)
            ]
            yield _Seen(frame.index, frame.time, crops)


def _crops(image: np.ndarray, faces: Sequence[Face], tools: Tools) -> list[bytes]:
    settings = tools.settings
    crops = crop_faces(image, faces, size=settings.size, channels=settings.channels, frame=tools.detector().crop_frame)
    return [encode_face(crop[0] if settings.channels == 1 else crop.transpose(1, 2, 0)) for crop in crops]


def _side(face: Face) -> float:
    return math.sqrt(face.box[2] * face.box[3])


def _spool(seen: Iterable[_Seen], spool: IO[bytes]) -> list[_Track]:
    """Writes all crops one after another, because which are the main face's is known at the end only; a track a person."""
    tracks: dict[int, _Track] = {}
    for frame in seen:
        for crop in frame.crops:
            track = tracks.setdefault(crop.track, _Track())
            track.add(frame, crop.box, (spool.tell(), len(crop.encoded)))
            spool.write(crop.encoded)
    return _people(tracks.values())


def _people(tracks: Iterable[_Track]) -> list[_Track]:
    """Joins tracks of one person, as far as place and size tell: one that begins where an earlier one has ended continues it.

    A track ends at each cut, so without this a clip with jump cuts, or a flash, would lose all but its longest shot.
    """
    people: list[_Track] = []
    for track in sorted(tracks, key=lambda track: track.numbers[0]):
        before = min(people, key=lambda person: person.goes_on_as(track), default=None)
        if before is not None and before.goes_on_as(track) <= _SAME_PLACE:
            before.append(track)
        else:
            people.append(track)
    return people


def _write(
    item: Item,
    people: Sequence[_Track],
    frames: int,
    warning: str | None,
    spool: IO[bytes],
    folder: Path,
) -> Outcome:
    """The main face is the one whose sides, summed over its frames, give most: one that is there for long, and large."""
    problems = [warning] if warning else []
    if not people:
        where = "" if item.whole else f" from {max(item.start, 0.0):g} to {item.end:g} s"
        problems.append(f"no face in its {frames} frames{where}" if frames else f"no frame{where}")
        return Outcome(item.key, "face", frames=frames, problem="; ".join(problems))
    main = max(people, key=lambda track: track.extent)
    start = item.start if math.isfinite(item.start) else 0.0
    offsets = np.cumsum([0, *(size for _, size in main.pieces)], dtype=np.int64)
    index = FaceIndex(offsets, np.array(main.numbers, np.int32), np.array(main.times) - start)
    file = f"{FACE}/{item.name}.safetensors"
    write_faces(folder / file, index, [(spool, position, size) for position, size in main.pieces])
    return Outcome(
        item.key,
        "face",
        file,
        count=len(main.numbers),
        frames=frames,
        others=len(people) - 1,
        problem="; ".join(problems) or None,
    )


def cache_images(job: Job, tools: Tools) -> None:
    """The main faces of images, all in one file: the largest of each."""
    buffer, sizes = io.BytesIO(), [0]
    done: list[tuple[Item, int]] = []
    for number, item in enumerate(job.items):
        tools.share(number / len(job.items))
        try:
            encoded = next(guarded(_largest(item, tools), tools.stop), None)
        except UnreadableError as error:
            tools.fail(item, error.cause)
            continue
        if encoded is None:
            tools.report(Outcome(item.key, "face", frames=1, problem="no face in the image"))
            continue
        content, others = encoded
        buffer.write(content)
        sizes.append(len(content))
        done.append((item, others))
    if not done:
        return
    name = hashlib.sha256("".join(item.key for item, _ in done).encode()).hexdigest()[:20]
    file = f"{FACE}/{name}.safetensors"
    index = FaceIndex(np.cumsum(sizes, dtype=np.int64), np.zeros(len(done), np.int32), np.zeros(len(done)))
    write_faces(tools.folder / file, index, [(buffer, 0, buffer.tell())])
    for position, (item, others) in enumerate(done):
        tools.report(Outcome(item.key, "face", file, position, count=1, frames=1, others=others))


def _largest(item: Item, tools: Tools) -> Iterator[tuple[bytes, int]]:
    """The encoded crop and how many other faces there are; nothing if there is none."""
    if item.image is not None:
        yield encode_face(_fitted(item.image, tools.settings)), 0
    elif item.cropped:
        yield _cropped_file(item.path, tools.settings), 0
    else:
        image = read_image(item.path)
        faces = tools.detector().detect([image])[0]
        if faces:
            yield _crops(image, [max(faces, key=_side)], tools)[0], len(faces) - 1
