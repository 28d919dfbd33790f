"""Following each face through a video, with a detector that sees only some of the frames."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pyemo.contracts import Detector, Face
from pyemo.media.association import assign, box_distance
from pyemo.media.cuts import CutDetector
from pyemo.media.video import VideoFrame

_STEADY = 0.25  # box distance within which a face is taken to have moved evenly from one look to the next
_LONGEST_SPAN = 0.4  # seconds from one look to the next at low frame rates
_MANY_FRAMES = 12  # what a span of time is at most, in frames, at high frame rates: bounds memory and delay
_MEMORY = 0.5  # seconds of a track from which its velocity is estimated


@dataclass(frozen=True)
class TrackedFace:
    """One person's face in one frame."""

    track: int
    """Number of the track, from 0 in order of appearance."""
    face: Face
    detected: bool
    """Whether the detector saw the face in this frame; else its box, score and landmarks are interpolated in time."""


@dataclass(frozen=True)
class TrackedFrame:
    """A frame and the faces in it, by track."""

    frame: VideoFrame
    faces: list[TrackedFace]


def track_faces(
    frames: Iterable[VideoFrame],
    detector: Detector,
    *,
    every: int = 8,
    min_duration: float = 0.25,
    bridge: float = 0.25,
    patience: float = 0.5,
    smoothing: float = 0.2,
) -> Iterator[TrackedFrame]:
    """Yields every frame with its faces, one track a person within a shot.

    The detector looks at every ``every``-th frame, at least each 0.4 s, and at both sides of each cut. Where the faces of two looks pair
    up and have hardly moved, those between are interpolated; where one has come, gone or moved by more than a quarter of its size, the
    detector looks half-way too, and so on, so tracks begin and end at the very frame. A track never goes on across a cut.

    Args:
        frames: in order of time, all of one size.
        detector: any plug-in of the group ``pyemo.detectors``.
        every: frames from one look to the next; 1 looks at all frames.
        min_duration: seconds (at most 12 frames) a face must last, or fill its whole shot; shorter ones are taken for false detections.
        bridge: seconds (at most 12 frames) without a detection that are filled by interpolation; longer gaps stay empty.
        patience: seconds after which a face that was lost starts a new track when it comes back.
        smoothing: boxes and landmarks are averaged with triangular weights over this many seconds (at most 12 frames) to either side,
            because a detector's boxes move in steps (dlib's sizes by 20 %); 0 turns it off.

    Frames come out at most about ``every`` + 36 frames after they went in; no more are held in memory. To run decoding, tracking and
    whatever follows side by side, wrap the call in :func:`pyemo.media.prefetch`.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    for name, value in (
        ("min_duration", min_duration),
        ("bridge", bridge),
        ("patience", patience),
        ("smoothing", smoothing),
    ):
        if not value >= 0:
            raise ValueError(f"{name} must be 0 or more seconds, got {value}")
    return _Tracker(detector, every, min_duration, bridge, patience, smoothing).run(frames)


@dataclass(frozen=True)
class _Held:
    """A frame that has not gone out yet, with its number among the frames that came in."""

    position: int
    frame: VideoFrame


@dataclass(frozen=True)
class _State:
    """A face in one frame."""

    position: int
    time: float
    box: np.ndarray
    """(4,) float64: centre x, centre y, width, height."""
    score: float
    landmarks: np.ndarray | None
    detected: bool

    @classmethod
    def of(cls, face: Face, held: _Held) -> _State:
        x, y, width, height = face.box
        box = np.array((x + width / 2, y + height / 2, width, height))
        return cls(held.position, held.frame.time, box, face.score, face.landmarks, True)

    def face(self) -> Face:
        x, y, width, height = self.box.tolist()
        return Face((x - width / 2, y - height / 2, width, height), self.score, self.landmarks)


def _blend(states: Sequence[_State], weights: np.ndarray, at: _Held, detected: bool) -> _State:
    """The weighted mean; landmarks only if all states have them."""
    weights = weights / weights.sum()
    points = [state.landmarks for state in states if state.landmarks is not None]
    landmarks = None
    if len(points) == len(states):
        landmarks = np.tensordot(weights, np.stack(points), axes=1).astype(np.float32)
    box = weights @ np.stack([state.box for state in states])
    score = float(weights @ np.array([state.score for state in states]))
    return _State(at.position, at.frame.time, box, score, landmarks, detected)


class _Track:
    def __init__(self, first: _State) -> None:
        self.first = first
        self.states = [first]  # one a frame, but for gaps too long to bridge; old ones are forgotten
        self.length = 1  # frames, forgotten ones included
        self.confirmed = False
        # Given when the first frame goes out, so that numbers follow the order of appearance.
        self.number: int | None = None

    @property
    def last(self) -> _State:
        return self.states[-1]

    def append(self, state: _State) -> None:
        self.states.append(state)
        self.length += 1

    def predict(self, time: float) -> np.ndarray:
        """The box expected at ``time``: the last one moved on with the velocity of late."""
        last = self.last
        seen = [state for state in self.states if state.detected and last.time - state.time <= _MEMORY]
        ages = np.array([state.time - last.time for state in seen])
        moves = np.stack([state.box[:2] - last.box[:2] for state in seen])
        # Least squares with a penalty (0.02 s2), lest the jitter of detections a few milliseconds apart be taken for speed.
        velocity = ages @ moves / (ages @ ages + 0.02)
        box = last.box.copy()
        box[:2] += velocity * (time - last.time)
        return box

    def smoothed(self, held: _Held, seconds: float) -> _State | None:
        """The state at a frame, averaged over its neighbours up to the nearest gap or end; None if the face is not there."""
        centre = bisect_left(self.states, held.position, key=lambda state: state.position)
        if centre == len(self.states) or self.states[centre].position != held.position:
            return None
        # As many on either side: an average of one side only would lag behind, or run ahead of, a moving face.
        reach = 0
        for step in range(1, min(_MANY_FRAMES, centre, len(self.states) - 1 - centre) + 1):
            before, after = self.states[centre - step], self.states[centre + step]
            adjacent = after.position - before.position == 2 * step
            if not adjacent or max(after.time - held.frame.time, held.frame.time - before.time) >= seconds:
                break
            reach = step
        if reach == 0:
            return self.states[centre]
        window = self.states[centre - reach : centre + reach + 1]
        weights = np.array([1 - abs(state.time - held.frame.time) / seconds for state in window])
        return _blend(window, weights, held, self.states[centre].detected)

    def forget(self, position: int) -> None:
        """Drops the states before ``position`` that are of no use for the velocity either."""
        old = itertools.takewhile(
            lambda state: state.position < position and self.last.time - state.time > _MEMORY, self.states
        )
        del self.states[: sum(1 for _ in old)]


class _Tracker:
    def __init__(
        self, detector: Detector, every: int, min_duration: float, bridge: float, patience: float, smoothing: float
    ) -> None:
        self._detector = detector
        self._every = every
        self._min_duration = min_duration
        self._bridge = bridge
        self._patience = patience
        self._smoothing = smoothing
        self._waiting: deque[_Held] = deque()
        self._live: list[_Track] = []
        self._ended: list[_Track] = []  # kept until their last frame has gone out
        self._numbers = itertools.count()
        self._look: _Held | None = None  # the last frame looked at, with its faces
        self._faces: list[Face] = []
        self._shot_start = 0
        self._interval = 0.0  # seconds from one frame to the next

    def run(self, frames: Iterable[VideoFrame]) -> Iterator[TrackedFrame]:
        cuts = CutDetector()
        segment: list[_Held] = []  # from the last frame looked at on
        for position, frame in enumerate(frames):
            held = _Held(position, frame)
            if cuts.is_cut(frame.image):
                self._look_through(segment)
                self._end_shot()
                yield from self._release()
                segment = []
            if segment:
                self._interval = frame.time - segment[-1].frame.time
            else:
                self._shot_start = position
            segment.append(held)
            self._waiting.append(held)
            if len(segment) > self._every or frame.time - segment[0].frame.time >= _LONGEST_SPAN:
                self._look_through(segment)
                yield from self._release()
                segment = [held]
        if segment:
            self._look_through(segment)
            self._end_shot()
            yield from self._release()

    def _look_through(self, segment: list[_Held]) -> None:
        """Detects at both ends of the segment, between them as far as needed, and updates the tracks."""
        end = len(segment) - 1
        looks = {0: self._faces if segment[0] is self._look else self._detect(segment[0])}
        if end > 0:
            looks[end] = self._detect(segment[end])
        spans = [(0, end)]
        while spans:
            low, high = spans.pop()
            if high - low > 1 and not _steady(looks[low], looks[high]):
                middle = (low + high) // 2
                looks[middle] = self._detect(segment[middle])
                spans += [(low, middle), (middle, high)]
        for position in sorted(looks):
            if segment[position] is not self._look:
                self._update(segment[position], looks[position])

    def _detect(self, held: _Held) -> list[Face]:
        return self._detector.detect([held.frame.image])[0]

    def _update(self, held: _Held, faces: list[Face]) -> None:
        """Continues, starts and gives up tracks by the faces of a frame looked at."""
        states = [_State.of(face, held) for face in faces]
        now = held.frame.time
        pairs = []
        if self._live and states:
            distance = box_distance(
                np.stack([track.predict(now) for track in self._live]), np.stack([state.box for state in states])
            )
            # The longer a face has not been seen the farther it may have come; but a whole width away is somebody else.
            unseen = np.array([now - track.last.time for track in self._live])
            pairs = assign(distance, np.minimum(0.4 + 2 * unseen, 1.0)[:, None])
        for row, column in pairs:
            self._continue(self._live[row], states[column])
        new = set(range(len(states))) - {column for _, column in pairs}
        self._live += [_Track(states[column]) for column in sorted(new)]
        self._look, self._faces = held, faces
        for track in list(self._live):
            duration = track.last.time - track.first.time + self._interval
            track.confirmed |= duration >= self._min_duration or track.length >= _MANY_FRAMES
            if not track.confirmed and not self._may_fill(track):
                self._live.remove(track)
            elif now - track.last.time > self._patience:
                self._live.remove(track)
                self._ended.append(track)

    def _continue(self, track: _Track, state: _State) -> None:
        last = track.last
        seen_before = self._look is not None and last.position == self._look.position
        if seen_before or self._bridges(last, state.position, state.time):
            for held in self._waiting:
                if last.position < held.position < state.position:
                    part = (held.frame.time - last.time) / (state.time - last.time)
                    track.append(_blend((last, state), np.array((1 - part, part)), held, False))
        track.append(state)

    def _bridges(self, last: _State, position: int, time: float) -> bool:
        return time - last.time <= self._bridge and position - last.position <= _MANY_FRAMES

    def _may_fill(self, track: _Track) -> bool:
        """Whether the next look may still fill frames after the track's last."""
        assert self._look is not None
        position = self._look.position
        return track.last.position == position or self._bridges(track.last, position, self._look.frame.time)

    def _end_shot(self) -> None:
        """At a cut and at the end: a track that has not lasted long enough must have filled the shot."""
        for track in self._live:
            filled = self._look is not None and track.length == self._look.position - self._shot_start + 1
            track.confirmed |= filled
            if track.confirmed:
                self._ended.append(track)
        self._live.clear()

    def _release(self) -> Iterator[TrackedFrame]:
        """Yields the frames in which nothing can change any more."""
        while self._waiting and self._settled(self._waiting[0]):
            held = self._waiting.popleft()
            faces = []
            for track in itertools.chain(self._ended, self._live):
                if state := track.smoothed(held, self._smoothing):
                    if track.number is None:
                        track.number = next(self._numbers)
                    faces.append(TrackedFace(track.number, state.face(), state.detected))
            yield TrackedFrame(held.frame, sorted(faces, key=lambda tracked: tracked.track))
            self._ended = [track for track in self._ended if track.last.position > held.position]
            for track in self._live:
                track.forget(held.position - _MANY_FRAMES)

    def _settled(self, held: _Held) -> bool:
        if self._look is None or held.position > self._look.position:
            return False
        for track in self._live:
            if not track.confirmed:
                if held.position >= track.first.position:
                    return False
            elif self._may_fill(track):
                near = held.position > track.last.position - _MANY_FRAMES
                if near and held.frame.time > track.last.time - self._smoothing:
                    return False
                if held.position > track.last.position:
                    return False
        return True


def _steady(before: list[Face], after: list[Face]) -> bool:
    """Whether the faces pair up one to one, each nearly where it was."""
    if len(before) != len(after):
        return False
    if not before:
        return True
    a, b = (np.array([face.box for face in faces]) for faces in (before, after))
    for boxes in (a, b):
        boxes[:, :2] += boxes[:, 2:] / 2
    return len(assign(box_distance(a, b), _STEADY)) == len(before)
