from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from layouts import touch
from pyemo_datasets.cremad import ACTORS, THESIS_FOLDS, WOMEN, CremaD

from pyemo.data.folds import assign_folds
from pyemo.data.sources import read_data
from pyemo.errors import DataError
from pyemo.media import VideoReader, read_audio

# The header and four rows as published (the clips of actor 1001 with sentence DFA), and two of actor 1001 with tied votes.
VOTES = """"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"
"62","1001_DFA_ANG_XX","A","47.33","A","41.8","A","41.5"
"63","1001_DFA_FEA_XX","F","60.6","D","54","F","44.8"
"60","1001_DFA_HAP_XX","N","75.25","H","66.57","H","57.9"
"59","1001_DFA_NEU_XX","N","64","N","77.22","N","75.88"
"26","1001_IOM_ANG_XX","N","66.57","N","54.83","F:N","64.75:61.50"
"9","1001_IEO_ANG_MD","A:D","37.2:58.6","A","45.5","A","44.2"
"""


def layout(root: Path) -> Path:
    touch(
        root,
        "AudioWAV/1001_DFA_ANG_XX.wav",
        "AudioMP3/1001_DFA_ANG_XX.mp3",
        "VideoFlash/1001_DFA_ANG_XX.flv",
        "AudioMP3/1001_DFA_FEA_XX.mp3",
        "VideoFlash/1001_DFA_FEA_XX.flv",
        "VideoFlash/1001_DFA_HAP_XX.flv",
        "AudioWAV/1001_IEO_ANG_MD.wav",
    )
    (root / "processedResults").mkdir()
    (root / "processedResults" / "summaryTable.csv").write_text(VOTES)
    return root


def read(root: Path, **options: str) -> dict[str, tuple[str, str | None, str]]:
    manifest = CremaD(**options).read(root)
    voices = manifest.table.get("voice")
    return {
        Path(row.path).stem: (row.label, None if voice is None else Path(voice).suffix, Path(row.path).suffix)
        for row, voice in zip(manifest.table.itertuples(), voices, strict=True)
    }


def test_the_files_of_a_performance_are_one_row(tmp_path: Path) -> None:
    layout(tmp_path)
    assert read(tmp_path) == read(tmp_path, modality="audio-video")
    assert read(tmp_path) == {
        "1001_DFA_ANG_XX": ("angry", ".wav", ".flv"),
        "1001_DFA_FEA_XX": ("fear", ".mp3", ".flv"),
        "1001_DFA_HAP_XX": ("happy", None, ".flv"),
    }
    assert read(tmp_path, modality="audio") == {
        "1001_DFA_ANG_XX": ("angry", None, ".wav"),
        "1001_DFA_FEA_XX": ("fear", None, ".mp3"),
        "1001_DFA_HAP_XX": ("happy", None, ".flv"),
        "1001_IEO_ANG_MD": ("angry", None, ".wav"),
    }
    assert set(read(tmp_path, modality="video")) == {"1001_DFA_ANG_XX", "1001_DFA_FEA_XX", "1001_DFA_HAP_XX"}
    assert CremaD().read(tmp_path).modalities == ("face", "voice")
    assert CremaD().read(tmp_path / "AudioWAV").modalities == ("voice",)
    assert any("1 performances without the file for audio-video" in line for line in CremaD().read(tmp_path).problems)


def test_perceived_labels_are_those_of_what_raters_had(tmp_path: Path) -> None:
    layout(tmp_path)
    perceived = {name: row[0] for name, row in read(tmp_path, label="perceived").items()}
    assert perceived == {"1001_DFA_ANG_XX": "angry", "1001_DFA_FEA_XX": "fear", "1001_DFA_HAP_XX": "happy"}
    assert read(tmp_path, label="perceived", modality="video")["1001_DFA_FEA_XX"][0] == "disgust"
    assert read(tmp_path, label="perceived", modality="audio")["1001_DFA_HAP_XX"][0] == "neutral"
    # The table is also found beside the folder of one kind of file.
    assert read(tmp_path / "AudioMP3", label="perceived")["1001_DFA_FEA_XX"][0] == "fear"
    table = CremaD().read(tmp_path).table
    assert table[["intended", "perceived"]].values.tolist() == [["angry"] * 2, ["fear"] * 2, ["happy"] * 2]


def test_tied_votes(tmp_path: Path) -> None:
    layout(tmp_path)
    manifest = CremaD(modality="audio", label="perceived").read(tmp_path)
    assert "1001_IEO_ANG_MD" not in {Path(path).stem for path in manifest.table["path"]}
    assert any("1 performances with as many votes for one emotion as for another" in line for line in manifest.problems)
    assert read(tmp_path, modality="audio", label="perceived", ties="level")["1001_IEO_ANG_MD"][0] == "disgust"


def test_the_real_clips(shared_data: Path, tmp_path: Path) -> None:
    clips = shared_data / "cremad"
    if not clips.is_dir():
        pytest.skip(f"{clips} not found")
    flat = CremaD().read(clips)
    assert flat.table["label"].tolist() == ["angry", "disgust", "fear", "happy", "neutral", "sad"]
    assert flat.table["voice"].tolist() == [None] * 6  # the Flash files have their own sound:
    path = Path(flat.table["path"].iloc[0])
    assert len(read_audio(path, 16000)) > 16000
    with VideoReader(path) as reader:
        assert next(iter(reader)).image.shape == (360, 480, 3)
    sounds = CremaD(modality="audio").read(clips).table
    assert sounds["subject"].value_counts().to_dict() == {"1001": 6, "1002": 6}
    assert sounds["sex"].value_counts().to_dict() == {"male": 6, "female": 6}
    for name, folder in (("1001_DFA_ANG_XX.flv", "VideoFlash"), ("1002_DFA_ANG_XX.mp3", "AudioMP3")):
        (tmp_path / folder).mkdir()
        shutil.copy(clips / name, tmp_path / folder)
    published = CremaD().read(tmp_path)
    assert published.table["path"].tolist() == [str(tmp_path / "VideoFlash" / "1001_DFA_ANG_XX.flv")]


def test_bad_files_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "AudioWAV/1002_DFA_SAD_XX.wav",
        "AudioWAV/1040_ITH_SAD_X.wav",  # published so
        "AudioWAV/1076_MTI_SAD_XX.wav",  # published without a sound
        "AudioWAV/1001_DFA_ANG.wav",
        "AudioWAV/1001_DFA_SUR_XX.wav",
        "AudioWAV/1099_DFA_ANG_XX.wav",
    )
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 60000\n"
    (tmp_path / "AudioWAV" / "1003_DFA_ANG_XX.wav").write_bytes(pointer)
    manifest = CremaD().read(tmp_path)
    assert [Path(path).stem for path in manifest.table["path"]] == ["1002_DFA_SAD_XX", "1040_ITH_SAD_X"]
    assert manifest.table["level"].tolist() == [None, None]
    text = "\n".join(manifest.problems)
    assert "1001_DFA_ANG.wav: not a name of CREMA-D" in text
    assert "1099_DFA_ANG_XX.wav: not a name of CREMA-D" in text
    assert "1001_DFA_SUR_XX.wav: its emotion SUR is not one of" in text
    assert "1076_MTI_SAD_XX.wav: published without an audible sound" in text
    assert "1 files are Git LFS pointers" in text
    assert "no clip of 89 of 91 actors" in text


def test_the_nine_folds() -> None:
    assert sorted(actor for fold in THESIS_FOLDS for actor in fold) == list(ACTORS)
    assert len(WOMEN) == 43
    women = [sum(actor in WOMEN for actor in fold) for fold in THESIS_FOLDS]
    men = [len(fold) - count for fold, count in zip(THESIS_FOLDS, women, strict=True)]
    assert set(women) == {4, 5}
    assert set(men) == {5, 6}
    assert max(abs(a - b) for a, b in zip(men, women, strict=True)) == 2


def test_given_folds_of_a_part_of_the_actors_keep_their_numbers(tmp_path: Path) -> None:
    touch(tmp_path, *(f"AudioWAV/{actor}_DFA_ANG_XX.wav" for actor in ("1002", "1001", "1091")))
    manifest = CremaD().read(tmp_path)
    expected = [next(n for n, fold in enumerate(THESIS_FOLDS) if actor in fold) for actor in ("1001", "1002", "1091")]
    np.testing.assert_array_equal(assign_folds(manifest, kind="given", name="thesis"), expected)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clip of CREMA-D"):
        CremaD().read(tmp_path)
    touch(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav")
    with pytest.raises(DataError, match=r"perceived labels need processedResults/summaryTable\.csv"):
        CremaD(label="perceived").read(tmp_path)
    (tmp_path / "summaryTable.csv").write_text("FileName,FaceVote\n1001_DFA_ANG_XX,A\n")
    with pytest.raises(DataError, match="columns voicelevel, voicevote are missing"):
        CremaD(label="perceived").read(tmp_path)
    assert any("columns voicelevel, voicevote are missing" in line for line in CremaD().read(tmp_path).problems)
    (tmp_path / "summaryTable.csv").write_text("FileName,VoiceVote,VoiceLevel\n1001_DFA_ANG_XX,A:Q,1:2\n")
    with pytest.raises(DataError, match=r"no clip with audio and the label perceived; .*votes 'A:Q' with levels '1:2'"):
        CremaD(label="perceived").read(tmp_path)


def test_common_labels_lose_nothing(tmp_path: Path) -> None:
    before = CremaD(modality="audio").read(layout(tmp_path))
    _, after = read_data(f"cremad:{tmp_path}", labels="common", modality="audio")
    assert after.table["label"].tolist() == before.table["label"].tolist()
    assert after.problems == before.problems
    assert after.labels == ("angry", "disgust", "fear", "happy", "sad", "neutral")
