from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from layouts import touch
from pyemo_datasets.manifest import ManifestTable

from pyemo.data.sources import read_data
from pyemo.errors import DataError


def write(root: Path, *lines: str) -> Path:
    touch(root, "clips/a.mp4", "clips/b.wav", "clips/c/1.jpg", "sounds/a.wav")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def test_a_csv_with_paths_beside_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        "path,label,subject,split,start,end,voice,take",
        "clips/a.mp4,Happiness,01,Train,0.5,2,sounds/a.wav,7",
        "clips/b.wav,boredom,,val,,,,",
        "clips/c,sad,02,test,,,,8",
    )
    for root in (tmp_path, tmp_path / "manifest.csv"):
        _, manifest = read_data(f"manifest:{root}", licence="mine")
        table = manifest.table
        assert table["path"].tolist() == [str(tmp_path / "clips" / name) for name in ("a.mp4", "b.wav", "c")]
        assert table["label"].tolist() == ["happy", "boredom", "sad"]
        assert table["subject"].tolist() == ["01", None, "02"]
        assert table["split"].tolist() == ["train", "validation", "test"]
        np.testing.assert_array_equal(table[["start", "end"]], [[0.5, 2], [np.nan] * 2, [np.nan] * 2])
        assert table["voice"].tolist() == [str(tmp_path / "sounds" / "a.wav"), None, None]
        assert table["take"].tolist() == ["7", None, "8"]
        assert manifest.labels == ("happy", "sad", "boredom")
        assert manifest.modalities == ("face", "voice")
        assert (manifest.licence, manifest.problems) == ("mine", ())


def test_labels_of_frames(tmp_path: Path) -> None:
    write(tmp_path, "path,frame_labels", "clips/c,happiness;-;calm;happy", "clips/a.mp4,-;-")
    manifest = ManifestTable().read(tmp_path)
    assert manifest.labels == ("happy", "calm")
    assert manifest.table["frame_labels"].iloc[0].tolist() == [0, -1, 1, 0]
    assert manifest.table["frame_labels"].iloc[0].dtype == np.int16
    assert manifest.table["label"].tolist() == [None]
    assert manifest.problems == (
        f"{tmp_path / 'manifest.csv'}, row 1: {tmp_path / 'clips' / 'a.mp4'} has no label; left out",
    )


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    touch(tmp_path, "a.wav", "c/1.png")
    table = pd.DataFrame(
        {
            "path": ["a.wav", "c"],
            "label": ["angry", None],
            "subject": [3, 4],
            "end": [2.5, np.nan],
            "frame_labels": [None, ["fear", "-", "fear"]],
        }
    )
    table.to_parquet(tmp_path / "manifest.parquet")
    manifest = ManifestTable().read(tmp_path)
    assert manifest.table["label"].tolist() == ["angry", None]
    assert manifest.table["subject"].tolist() == ["3", "4"]
    assert manifest.table["end"].iloc[0] == 2.5
    assert manifest.labels == ("angry", "fear")
    assert manifest.table["frame_labels"].iloc[1].tolist() == [1, -1, 1]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("clips/none.mp4,happy,,", "none.mp4 does not exist"),
        ("clips/a.mp4,,,", "has no label"),
        (",happy,,", "no path"),
        ("clips/a.mp4,happy,first,", "start 'first' or end None is not a number"),
        ("clips/a.mp4,happy,3,2", "start 3.0 and end 2.0 enclose nothing"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_read(tmp_path: Path, row: str, problem: str) -> None:
    write(tmp_path, "path,label,start,end", row, "clips/b.wav,sad,,")
    manifest = ManifestTable().read(tmp_path)
    assert manifest.table["label"].tolist() == ["sad"]
    assert manifest.modalities == ("voice",)
    assert len(manifest.problems) == 1
    assert problem in manifest.problems[0]
    assert f"{tmp_path / 'manifest.csv'}, row 0: " in manifest.problems[0]


def test_an_unknown_split_is_no_split(tmp_path: Path) -> None:
    write(tmp_path, "path,label,split", "clips/b.wav,sad,train", "clips/a.mp4,sad,later")
    manifest = ManifestTable(modalities="voice").read(tmp_path)
    assert manifest.table["split"].tolist() == ["train"]
    assert "unknown split 'later', expected train, validation or test" in manifest.problems[0]
    assert manifest.modalities == ("voice",)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a folder with manifest\.csv or manifest\.parquet"):
        ManifestTable().read(tmp_path)
    write(tmp_path, "file,label", "clips/a.mp4,sad")
    with pytest.raises(DataError, match="no column path; found file, label"):
        ManifestTable().read(tmp_path)
    write(tmp_path, "path,label", "nowhere.mp4,sad")
    with pytest.raises(DataError, match=r"no usable row; .*does not exist"):
        ManifestTable().read(tmp_path)
    (tmp_path / "manifest.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"not a parquet table|needs pyarrow"):
        ManifestTable().read(tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match="modalities='both'"):
        ManifestTable(modalities="both")
