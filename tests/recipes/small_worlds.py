"""Small files in the layouts of the published data sets: a face is a grey square with a bright spot, whose place is the emotion; a voice is
some tones, whose number is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile

EMOTIONS = ("neutral", "happy", "sad", "angry")
CODES = {"neutral": "01", "happy": "03", "sad": "04", "angry": "05"}
"""In the names of RAVDESS."""
SIDE, RATE, FRAMES = 48, 16000, 25


def face(emotion: str, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """RGB (side, side, 3)."""
    image = np.random.default_rng(seed).integers(70, 100, (side, side, 3))
    half, place = side // 2, EMOTIONS.index(emotion)
    y, x = half * (place // 2), half * (place % 2)
    image[y : y + half, x : x + half] += [140, 60, 100]
    return image.astype(np.uint8)


def voice(emotion: str, seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """float32 (T,)."""
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.01, len(times))
    pitches = 600 + 1500 * np.arange(EMOTIONS.index(emotion) + 1)
    return (0.2 * np.sin(2 * np.pi * pitches[:, None] * times).sum(axis=0) + noise).astype(np.float32)


def picture(emotion: str, seed: int = 0) -> np.ndarray:
    """A face on black, RGB (96, 128, 3)."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[24 : 24 + SIDE, 40 : 40 + SIDE] = face(emotion, seed)
    return image


def write_image(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def write_sound(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def write_clip(path: Path, images: Sequence[np.ndarray], sound: np.ndarray | None = None) -> Path:
    """MPEG-4 at 25 frames a second; ``sound`` (T,) float32 at RATE as AAC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FRAMES)
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt, video.bit_rate = "yuv420p", 4_000_000
        stream = container.add_stream("aac", rate=RATE, layout="mono") if sound is not None else None
        for image in images:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(video.encode(None))
        if stream is not None and sound is not None:
            block = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
            block.sample_rate, block.time_base, block.pts = RATE, Fraction(1, RATE), 0
            container.mux(stream.encode(block))
            container.mux(stream.encode(None))
    return path


def ravdess(root: Path, actors: Sequence[int] = (1, 2, 3, 4), repetitions: Sequence[int] = (1,)) -> Path:
    """``Actor_NN/01-01-EE-01-01-RR-NN.mp4``, 0.64 s or twice that, one clip an emotion and repetition."""
    for actor in actors:
        for number, emotion in enumerate(EMOTIONS):
            for repetition in repetitions:
                seed = 100 * actor + 10 * number + repetition
                # 16 frames are as long as 10 blocks of AAC: no digital silence is added at the end.
                images = [picture(emotion, seed + 1000 * frame) for frame in range(16 if actor % 2 else 32)]
                path = root / f"Actor_{actor:02d}" / f"01-01-{CODES[emotion]}-01-01-{repetition:02d}-{actor:02d}.mp4"
                write_clip(path, images, voice(emotion, len(images) / FRAMES, seed=seed))
    return root


def ravdess_speech(root: Path, actors: Sequence[int] = (1, 2, 3, 4), seconds: float = 0.6) -> Path:
    """The same as sounds, ``Actor_NN/03-01-EE-01-01-01-NN.wav``."""
    for actor in actors:
        for number, emotion in enumerate(EMOTIONS):
            path = root / f"Actor_{actor:02d}" / f"03-01-{CODES[emotion]}-01-01-01-{actor:02d}.wav"
            write_sound(path, voice(emotion, seconds + 0.02 * actor, seed=10 * actor + number))
    return root


def liris_cse(root: Path, children: Sequence[int] = (1, 2, 3, 4)) -> Path:
    """``S1_happy_1.avi`` of four frames each; one clip more has a label that no recipe knows."""
    for child in children:
        for emotion in ("happy", "sad"):
            images = [picture(emotion, 100 * child + frame) for frame in range(2)]
            write_clip(root / f"S{child}_{emotion}_1.avi", images)
    write_clip(root / "S1_confusing_1.avi", [picture("angry")] * 2)
    return root


def aff_wild2(root: Path, videos: dict[str, Sequence[str]]) -> Path:
    """Aligned faces, annotations and sounds: ``videos`` has the label of each frame by the video's name; ``-`` is none."""
    header = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    codes = {"neutral": 0, "angry": 1, "happy": 4, "sad": 5, "-": -1}
    for number, (name, labels) in enumerate(videos.items()):
        split = "Validation_Set" if name.startswith("validation") else "Train_Set"
        annotation = root / "annotations" / "EXPR_Classification_Challenge" / split / f"{name}.txt"
        annotation.parent.mkdir(parents=True, exist_ok=True)
        annotation.write_text("\n".join([header, *(str(codes[label]) for label in labels)]) + "\n")
        sounds = []
        for frame, label in enumerate(labels):
            emotion = "neutral" if label == "-" else label
            seed = 1000 * number + frame
            write_image(root / "cropped_aligned" / name / f"{frame + 1:05d}.jpg", face(emotion, seed, 56))
            sounds.append(voice(emotion, 0.04, seed=seed))
        write_sound(root / "batch1" / f"{name}.wav", np.concatenate(sounds))
    return root


def faces_by_class(root: Path, count: int = 4) -> Path:
    """``<class>/<face>.png``: faces already cut out."""
    for emotion in EMOTIONS:
        for number in range(count):
            write_image(root / emotion / f"{number}.png", face(emotion, number))
    return root


def rafd(root: Path, count: int = 4) -> Path:
    """``Rafd090_01_Caucasian_female_angry_frontal.jpg``; the spot of neutral is called surprised, and there is one contemptuous face."""
    for number in range(count):
        for emotion, word in zip(EMOTIONS, ("surprised", "happy", "sad", "angry"), strict=True):
            write_image(root / f"Rafd090_{number + 1:02d}_Caucasian_female_{word}_frontal.jpg", face(emotion, number))
    write_image(root / "Rafd090_01_Caucasian_female_contemptuous_frontal.jpg", face("sad"))
    return root
