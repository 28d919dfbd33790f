from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from layouts import touch
from pyemo_datasets.ravdess import Ravdess

from pyemo.data.folds import assign_folds, check_disjoint
from pyemo.data.sources import read_data
from pyemo.errors import DataError
from pyemo.media import read_audio

SAME = ("03-01-03-01-02-01-07", "03-01-03-01-02-02-07")


@pytest.fixture(scope="session")
def archive(shared_data: Path) -> zipfile.ZipFile:
    path = shared_data / "ravdess-speech-16k.zip"
    if not path.is_file():
        pytest.skip(f"{path} not found")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="session")
def real_names(archive: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of the real archive with empty files."""
    return touch(tmp_path_factory.mktemp("ravdess"), *(name for name in archive.namelist() if not name.endswith("/")))


def test_the_real_archive(real_names: Path) -> None:
    manifest = Ravdess().read(real_names)  # from empty files: nothing is decoded
    table = manifest.table
    assert len(table) == 1440
    assert manifest.problems == ()
    assert manifest.modalities == ("voice",)
    assert table["label"].value_counts().to_dict() == {"neutral": 96} | dict.fromkeys(
        ("calm", "happy", "sad", "angry", "fear", "disgust", "surprise"), 192
    )
    assert table["subject"].value_counts().unique().tolist() == [60]
    assert set(table.loc[table["sex"] == "male", "subject"]) == {f"{actor:02d}" for actor in range(1, 25, 2)}
    assert manifest.labels == ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
    assert "NC" in manifest.licence


def test_the_thesis_folds_hold_out_a_man_and_a_woman_each(real_names: Path) -> None:
    manifest = Ravdess().read(real_names)
    folds = assign_folds(manifest, kind="given", name="thesis")
    assert np.bincount(folds).tolist() == [120] * 12
    for fold in range(12):
        held_out = manifest.table[folds == fold]
        assert sorted(set(held_out["subject"])) == [f"{2 * fold + 1:02d}", f"{2 * fold + 2:02d}"]
        assert sorted(set(held_out["sex"])) == ["female", "male"]
        assert check_disjoint(manifest, folds != fold, folds == fold) == ()


def test_the_performance_that_is_there_twice_keeps_to_one_fold(archive: zipfile.ZipFile, tmp_path: Path) -> None:
    names = [name for name in archive.namelist() if Path(name).stem in SAME]
    for name in names:
        archive.extract(name, tmp_path)
    first, second = (tmp_path / name for name in names)
    assert first.read_bytes() == second.read_bytes()
    touch(tmp_path, "ravdess/Actor_08/03-01-01-01-01-01-08.flac")
    manifest = Ravdess().read(tmp_path)
    twice = manifest.table[manifest.table["subject"] == "07"]
    assert twice["repetition"].tolist() == [1, 2]
    assert len(set(assign_folds(manifest, kind="given")[twice.index])) == 1
    assert len(read_audio(twice["path"].iloc[0], 16000)) > 16000  # a real sound: the layout leads to it


def test_one_row_a_performance_whatever_files_it_has(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Video_Speech_Actor_01/Actor_01/01-01-05-01-01-01-01.mp4",
        "Video_Speech_Actor_01/Actor_01/02-01-05-01-01-01-01.mp4",
        "Audio_Speech_Actors_01-24/Actor_01/03-01-05-01-01-01-01.wav",
        "Actor_02/02-01-04-02-02-01-02.mp4",
        "Actor_02/03-01-04-02-02-01-02.wav",
        "Actor_03/03-01-02-01-01-01-03.wav",
    )

    def files(modality: str) -> dict[str, tuple[str, str | None]]:
        manifest = Ravdess(modality=modality).read(tmp_path)
        voices = manifest.table.get("voice", [None] * len(manifest.table))
        return {
            row.subject: (Path(row.path).name[:2], None if voice is None else Path(voice).name[:2])
            for row, voice in zip(manifest.table.itertuples(), voices, strict=True)
        }

    assert files("audio-video") == {"01": ("01", None), "02": ("02", "03")}
    assert files("audio") == {"01": ("03", None), "02": ("03", None), "03": ("03", None)}
    assert files("video") == {"01": ("02", None), "02": ("02", None)}
    assert files("auto") == files("audio-video")
    manifest = Ravdess().read(tmp_path)
    assert manifest.modalities == ("face", "voice")
    assert any("1 performances without the files for audio-video" in problem for problem in manifest.problems)
    first = manifest.table.iloc[1]
    assert (first["label"], first["intensity"], first["statement"], first["sex"]) == ("sad", "strong", "dogs", "female")


def test_speech_and_song(tmp_path: Path) -> None:
    touch(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", "Actor_01/03-02-01-01-01-01-01.wav")
    assert Ravdess().read(tmp_path).table["channel"].tolist() == ["speech"]
    assert Ravdess(channel="song").read(tmp_path).table["channel"].tolist() == ["song"]
    both = Ravdess(channel="both").read(tmp_path)
    assert sorted(both.table["channel"]) == ["song", "speech"]
    song = [problem for problem in both.problems if problem.startswith("song: no file of 22 of 23 actors")]
    assert len(song) == 1
    assert "18" not in song[0]  # who never sang


def test_bad_files_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Actor_01/03-01-05-01-01-01-01.wav",
        "Actor_01/notes.txt",
        "Actor_01/03-01-05-01-01-01.wav",  # a field is missing
        "Actor_01/03-01-09-01-01-01-01.wav",  # there is no ninth emotion
        "Actor_01/03-01-05-01-01-01-25.wav",  # nor a 25th actor
        "Actor_01/03-01-05-01-01-01-02.wav",
        "Actor_01/01-01-05-01-01-01-01.wav",
        "copy/Actor_01/03-01-05-01-01-01-01.wav",
    )
    manifest = Ravdess().read(tmp_path)
    assert manifest.table["path"].tolist() == [str(tmp_path / "Actor_01" / "03-01-05-01-01-01-01.wav")]
    text = "\n".join(manifest.problems)
    for name in ("03-01-05-01-01-01.wav", "03-01-09-01-01-01-01.wav", "03-01-05-01-01-01-25.wav"):
        assert f"{tmp_path / 'Actor_01' / name}: not a name of RAVDESS" in text
    assert "of actor 02 by its name, of actor 01 by its folder" in text
    assert "modality 01 by its name, so a video was expected" in text
    assert "1 further files of the same name" in text
    assert "no file of 23 of 24 actors: 02, 03, " in text
    assert "fewer than 60 performances: actor 01 has 1" in text


def test_common_labels_count_calm_as_neutral(real_names: Path) -> None:
    _, manifest = read_data(f"ravdess:{real_names}", labels="common")
    assert manifest.labels == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert (manifest.table["label"] == "neutral").sum() == 96 + 192
    assert len(manifest.problems) == 1
    assert manifest.problems[0].startswith("label 'calm': 192 rows count as neutral")
    with pytest.raises(DataError, match="labels='seven': expected all or common"):
        read_data(f"ravdess:{real_names}", labels="seven")


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected files such as Actor_01/03-01-05"):
        Ravdess().read(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        Ravdess().read(tmp_path / "nowhere")
    touch(tmp_path, "Actor_01/03-01-05-01-01-01-01.wav")
    with pytest.raises(DataError, match="no speech with video in it"):
        Ravdess(modality="video").read(tmp_path)
    with pytest.raises(DataError, match="modality='sound': expected auto, audio, video or audio-video"):
        Ravdess(modality="sound")
