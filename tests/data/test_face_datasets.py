"""LIRIS-CSE, DuckEES, CK+, JAFFE and RaFD: data sets that are faces alone and whose labels are in names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from layouts import touch
from pyemo_datasets.ck_plus import CkPlus
from pyemo_datasets.duckees import DuckEes
from pyemo_datasets.jaffe import Jaffe
from pyemo_datasets.liris_cse import LirisCse
from pyemo_datasets.rafd import Rafd

from pyemo.contracts import Manifest
from pyemo.data.sources import read_data
from pyemo.errors import DataError


def rows(manifest: Manifest, *columns: str) -> dict[str, tuple[object, ...]]:
    return {
        Path(path).name: tuple(values)
        for path, *values in manifest.table[["path", *(columns or ("label", "subject"))]].itertuples(index=False)
    }


class TestLirisCse:
    def test_clips_and_folders_of_their_frames(self, tmp_path: Path) -> None:
        touch(
            tmp_path / "videos_208",
            "S1_happy_1.mp4",
            "S12_fear.avi",
            "S8_confusing.mp4",
            "S3_happy_surprise_2.mp4",
            "S4_sad_1.mp4/image1.jpg",
            "S4_sad_1.mp4/image2.jpg",
        )
        manifest = LirisCse().read(tmp_path)
        assert rows(manifest) == {
            "S1_happy_1.mp4": ("happy", "S1"),
            "S12_fear.avi": ("fear", "S12"),
            "S8_confusing.mp4": ("confusing", "S8"),
            "S3_happy_surprise_2.mp4": ("happy_surprise", "S3"),
            "S4_sad_1.mp4": ("sad", "S4"),
        }
        assert manifest.problems == ()
        assert manifest.modalities == ("face",)

    def test_common_labels_leave_out_what_is_no_basic_emotion(self, tmp_path: Path) -> None:
        touch(tmp_path, "S1_happy_1.mp4", "S8_confusing_1.mp4", "S8_confusing_2.mp4")
        _, manifest = read_data(f"liris-cse:{tmp_path}", labels="common")
        assert rows(manifest) == {"S1_happy_1.mp4": ("happy", "S1")}
        assert manifest.problems == ("label 'confusing': 2 rows left out (not in the table of labels)",)

    def test_other_files_are_named(self, tmp_path: Path) -> None:
        touch(tmp_path, "S1_happy_1.mp4", "happy.mp4", "S1_happy_2.wav")
        text = "\n".join(LirisCse().read(tmp_path).problems)
        assert "happy.mp4: not a name of LIRIS-CSE" in text
        assert "S1_happy_2.wav: a sound, expected a video" in text
        with pytest.raises(DataError, match="no clip of LIRIS-CSE"):
            LirisCse().read(touch(tmp_path / "none", "x.mp4"))


class TestDuckEes:
    RATINGS = pd.DataFrame(
        {
            "video": ["stims/F01_happy", "stims/F01_pride", "stims/M02_sad", "stims/M02_fear"],
            "mode": ["happy", "pride", "neutral", "surprise"],
            "% correct": [0.97, 0.8, 0.75, 0.4],
        }
    )

    def clips(self, root: Path) -> Path:
        return touch(
            root, *(f"DuckEEsStim/{name}.m4v" for name in ("F01_happy", "F01_pride", "M02_sad", "M02_fear", "X_happy"))
        )

    @pytest.mark.parametrize("name", ["VideoStimSet_SuppTable1.xlsx", "VideoStimSet_SuppTable1.csv"])
    def test_the_raters_table_gives_labels_and_says_which_clips_to_trust(self, tmp_path: Path, name: str) -> None:
        self.clips(tmp_path)
        path = tmp_path / "DuckEEsStim" / name
        if path.suffix == ".xlsx":
            pytest.importorskip("openpyxl")
            self.RATINGS.to_excel(path, index=False)
        else:
            self.RATINGS.to_csv(path, index=False)
        manifest = DuckEes().read(tmp_path)
        assert rows(manifest, "label", "subject", "intended", "agreement") == {
            "F01_happy.m4v": ("happy", "F01", "happy", 0.97),
            "F01_pride.m4v": ("pride", "F01", "pride", 0.8),
            "M02_sad.m4v": ("neutral", "M02", "sad", 0.75),
        }
        text = "\n".join(manifest.problems)
        assert "1 clips with less than 70% agreement, left out: M02_fear.m4v" in text
        assert "X_happy.m4v: not in the raters' table" in text
        everything = rows(DuckEes(agreement=0.0, label="intended").read(tmp_path))
        assert everything["M02_sad.m4v"] == ("sad", "M02")
        assert everything["M02_fear.m4v"] == ("fear", "M02")

    def test_without_the_table_labels_are_from_the_names(self, tmp_path: Path) -> None:
        manifest = DuckEes(subject=r"^[A-Z]").read(touch(self.clips(tmp_path), "DuckEEsStim/M02_blank.m4v"))
        assert rows(manifest)["M02_sad.m4v"] == ("sad", "M")
        text = "\n".join(manifest.problems)
        assert "no raters' table" in text
        assert "M02_blank.m4v: no emotion of DuckEES in its name" in text
        _, common = read_data(f"duckees:{tmp_path}", labels="common")
        assert set(common.table["label"]) == {"happy", "sad", "fear"}
        assert any(line.startswith("label 'pride': 1 rows left out") for line in common.problems)

    def test_what_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no clip of DuckEES"):
            DuckEes().read(tmp_path)
        with pytest.raises(DataError, match=r"agreement=1\.5: expected a share"):
            DuckEes(agreement=1.5)
        with pytest.raises(DataError, match="is not a regular expression"):
            DuckEes(subject="(")
        (self.clips(tmp_path) / "agreement.csv").write_text("video,mode\nF01_happy,happy\n")
        with pytest.raises(DataError, match="columns % correct are missing"):
            DuckEes().read(tmp_path)


class TestCkPlus:
    def published(self, root: Path) -> Path:
        for sequence, count, emotion in (("S005/001", 5, "3"), ("S010/004", 3, "1"), ("S010/006", 4, None)):
            stem = sequence.replace("/", "_")
            images = (f"cohn-kanade-images/{sequence}/{stem}_{number:08d}.png" for number in range(1, count + 1))
            touch(root, *images, f"cohn-kanade-images/{sequence}/.DS_Store")
            if emotion is not None:
                path = root / "Emotion" / sequence / f"{stem}_{count:08d}_emotion.txt"
                touch(root, str(path.relative_to(root)))
                path.write_text(f"   {emotion}.0000000e+00\n")
        return root

    def test_the_peaks_of_labelled_sequences(self, tmp_path: Path) -> None:
        manifest = CkPlus().read(self.published(tmp_path))
        assert rows(manifest) == {
            "S005_001_00000003.png": ("disgust", "S005"),
            "S005_001_00000004.png": ("disgust", "S005"),
            "S005_001_00000005.png": ("disgust", "S005"),
            "S010_004_00000002.png": ("angry", "S010"),
            "S010_004_00000003.png": ("angry", "S010"),
        }
        assert {Path(path).name for path in manifest.table["neutral"]} == {
            "S005_001_00000001.png",
            "S010_004_00000001.png",
        }
        assert manifest.labels == ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
        assert manifest.problems == ("1 sequences without an emotion, left out: S010_006",)

    def test_one_peak_and_the_neutral_first_image(self, tmp_path: Path) -> None:
        manifest = CkPlus(peaks=1, neutral=True).read(self.published(tmp_path))
        assert rows(manifest, "label") == {
            "S005_001_00000005.png": ("disgust",),
            "S005_001_00000001.png": ("neutral",),
            "S010_004_00000003.png": ("angry",),
            "S010_004_00000001.png": ("neutral",),
        }

    def test_whole_sequences(self, tmp_path: Path) -> None:
        table = CkPlus(frames="sequence").read(self.published(tmp_path)).table
        images = tmp_path / "cohn-kanade-images"
        assert table["path"].tolist() == [str(images / "S005" / "001"), str(images / "S010" / "004")]
        assert table["label"].tolist() == ["disgust", "angry"]

    def test_bad_files_are_named_and_the_rest_is_read(self, tmp_path: Path) -> None:
        self.published(tmp_path)
        touch(tmp_path, "cohn-kanade-images/S005/001/poster.png")
        for name, text in (
            ("S011/001/S011_001_00000009_emotion.txt", "3"),
            ("S010/006/S010_006_00000004_emotion.txt", "8"),
            ("S005/001/S005_001_00000009_emotion.txt", "3"),
        ):
            touch(tmp_path / "Emotion", name)
            (tmp_path / "Emotion" / name).write_text(text)
        manifest = CkPlus().read(tmp_path)
        assert set(manifest.table["subject"]) == {"S010"}
        text = "\n".join(manifest.problems)
        assert "poster.png: not a name of CK+" in text
        assert "S011_001_00000009_emotion.txt: no images of this sequence" in text
        assert "S010_006_00000004_emotion.txt: expected a number from 0 to 7" in text
        assert "S005_001_00000009_emotion.txt: its images end before image 9" in text

    def test_faces_in_a_folder_a_class(self, tmp_path: Path) -> None:
        touch(
            tmp_path,
            *(f"CK+48/sadness/S014_002_0000001{n}.png" for n in (4, 5, 6)),
            "CK+48/contempt/S138_008_00000009.png",
        )
        touch(tmp_path, "CK+48/strange/S139_001_00000001.png")
        manifest = CkPlus().read(tmp_path)
        assert manifest.table["label"].tolist() == ["sad"] * 3 + ["contempt"]
        assert manifest.table["subject"].tolist() == ["S014"] * 3 + ["S138"]
        assert any("S139_001_00000001.png: its folder is not called after one of" in line for line in manifest.problems)
        assert len(CkPlus(peaks=1).read(tmp_path).table) == 2
        _, common = read_data(f"ck-plus:{tmp_path}", labels="common")
        assert set(common.table["label"]) == {"sad"}
        assert common.problems[-1].startswith("label 'contempt': 1 rows left out")
        with pytest.raises(DataError, match="need the published form"):
            CkPlus(frames="sequence").read(tmp_path)

    def test_the_table_of_pixels(self, tmp_path: Path) -> None:
        faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
        lines = [f"{emotion},{' '.join(map(str, face.ravel()))},{usage}" for emotion, face, usage in zip(
            (6, 7, 3), faces, ("Training", "PublicTest", "PrivateTest"), strict=True)]  # fmt: skip
        (tmp_path / "ckextended.csv").write_text("\n".join(["emotion,pixels,Usage", *lines, "0,1 2 3,Training"]))
        manifest = CkPlus().read(tmp_path)
        assert manifest.table["label"].tolist() == ["neutral", "contempt", "happy"]
        assert manifest.table["split"].tolist() == ["train", "validation", "test"]
        np.testing.assert_array_equal(manifest.images, faces)
        assert len(manifest.problems) == 1
        _, common = read_data(f"ck-plus:{tmp_path}", labels="common")
        assert common.table["label"].tolist() == ["neutral", "happy"]
        np.testing.assert_array_equal(common.images, faces[[0, 2]])

    def test_what_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no labelled image of CK\+"):
            CkPlus().read(tmp_path)
        with pytest.raises(DataError, match="peaks=0"):
            CkPlus(peaks=0)


class TestJaffe:
    def test_names(self, tmp_path: Path) -> None:
        touch(
            tmp_path, "jaffe/KA.AN1.39.tiff", "jaffe/KL.NE3.81.tiff", "jaffe/YM.SU2.66.tiff", "jaffe/README_FIRST.txt"
        )
        touch(tmp_path, "jaffe/KA.XX1.39.tiff", "jaffe/copy.tiff")
        manifest = Jaffe().read(tmp_path)
        assert rows(manifest) == {
            "KA.AN1.39.tiff": ("angry", "KA"),
            "KL.NE3.81.tiff": ("neutral", "KL"),
            "YM.SU2.66.tiff": ("surprise", "YM"),
        }
        assert [Path(problem.split(":")[0]).name for problem in manifest.problems] == ["KA.XX1.39.tiff", "copy.tiff"]
        with pytest.raises(DataError, match="no image of JAFFE"):
            Jaffe().read(touch(tmp_path / "none", "a.png"))


class TestRafd:
    NAMES = (
        "Rafd090_01_Caucasian_female_angry_frontal.jpg",
        "Rafd045_01_Caucasian_female_contemptuous_left.jpg",
        "Rafd180_72_Moroccan_male_surprised_right.jpg",
        "Rafd090_40_Kid_male_fearful_frontal.jpg",
    )

    def test_names(self, tmp_path: Path) -> None:
        touch(
            tmp_path,
            *self.NAMES,
            "Rafd090_02_Caucasian_female_bored_frontal.jpg",
            "Rafd091_02_Caucasian_female_sad_frontal.jpg",
        )
        manifest = Rafd().read(tmp_path)
        assert rows(manifest, "label", "subject", "angle", "group", "sex", "gaze") == {
            self.NAMES[0]: ("angry", "01", 90, "Caucasian", "female", "frontal"),
            self.NAMES[1]: ("contempt", "01", 45, "Caucasian", "female", "left"),
            self.NAMES[2]: ("surprise", "72", 180, "Moroccan", "male", "right"),
            self.NAMES[3]: ("fear", "40", 90, "Kid", "male", "frontal"),
        }
        assert len(manifest.problems) == 2

    def test_some_cameras_and_one_gaze(self, tmp_path: Path) -> None:
        touch(tmp_path, *self.NAMES)
        assert set(rows(Rafd(angles=90).read(tmp_path))) == {self.NAMES[0], self.NAMES[3]}
        assert set(rows(Rafd(angles=[45, 180], gaze="right").read(tmp_path))) == {self.NAMES[2]}
        with pytest.raises(DataError, match="no image of RaFD"):
            Rafd(angles=0).read(tmp_path)
        with pytest.raises(DataError, match="angles=30: expected some of"):
            Rafd(angles=30)
        with pytest.raises(DataError, match="gaze='up'"):
            Rafd(gaze="up")
