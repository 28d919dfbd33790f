"""The real layouts' files through dlib's detector and back."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from pyemo.contracts import Manifest
from pyemo.data.preparation import prepare
from pyemo.media import read_audio


def test_real_clips(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "ravdess-speech-16k.zip") as archive:
        member = next(name for name in archive.namelist() if name.endswith("03-01-05-01-02-01-01.flac"))
        speech = Path(archive.extract(member, tmp_path))
    names = ["cremad/1001_DFA_ANG_XX.flv", "cremad/1002_DFA_ANG_XX.mp3", "clips/face_noface.mov", "clips/no_face.mp4"]
    paths = [*(shared_data / name for name in names), shared_data / "clips" / "single_face.jpg", speech]
    table = pd.DataFrame(
        {"path": list(map(str, paths)), "label": "happy", "subject": None, "split": None}, dtype=object
    )
    table = table.assign(start=np.nan, end=np.nan)
    done = prepare(Manifest(table, ("happy",), modalities=("face", "voice")), tmp_path / "out", size=96, frame_rate=6)
    data = done.data
    assert done.failures == []
    assert data.usable("face").tolist() == [True, False, True, False, True, False]
    assert data.usable("voice").tolist() == [True, True, True, True, False, True]
    assert len(data.manifest.problems) == 4  # two sounds, a clip without a face, an image without sound
    # CREMA-D: one actor in front of one camera, in every frame.
    frames = int(data.manifest.table["source_frames"].iloc[0])
    seconds = data.voice_length(0) / 16000
    assert 60 <= frames <= 75
    assert 2.0 <= seconds <= 2.6
    np.testing.assert_allclose(np.diff(data.frame_times(0))[1:], 1 / 6, atol=0.035)
    assert seconds - 0.3 < data.frame_times(0)[-1] < seconds + 0.1
    crops = data.faces(0).crops
    assert crops.shape[1:] == (96, 96, 3)
    assert np.abs(np.diff(crops.astype(float).mean(axis=(1, 2, 3)))).max() < 15  # the same face all along
    assert data.manifest.table["other_faces"].iloc[0] == 0
    assert data.frame_times(2).max() < 3  # the face leaves
    np.testing.assert_allclose(data.voice(1) / 2**15, read_audio(paths[1]), atol=2**-14)
    np.testing.assert_array_equal(data.voice(5), soundfile.read(speech, dtype="int16")[0])
