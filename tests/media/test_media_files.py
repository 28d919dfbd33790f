from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from pyemo.errors import MediaError
from pyemo.media import find_media, kind


@pytest.fixture
def tree(tmp_path):
    for name in (
        "b.MP4",
        "a.jpg",
        "notes.txt",
        "sub/c.wav",
        "sub/deep/d.flv",
        ".hidden.mp4",
        ".git/e.png",
        "empty/readme.md",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def test_folders_are_searched_through_all_levels_in_order(tree):
    assert names(find_media([tree]), tree) == ["a.jpg", "b.MP4", "sub/c.wav", "sub/deep/d.flv"]


def test_order_is_as_given_and_nothing_comes_twice(tree):
    assert names(find_media([tree / "sub", tree / "a.jpg", tree]), tree) == [
        "sub/c.wav",
        "sub/deep/d.flv",
        "a.jpg",
        "b.MP4",
    ]


def test_globs(tree):
    assert names(find_media([f"{tree}/*"]), tree)[:2] == ["a.jpg", "b.MP4"]
    assert names(find_media([f"{tree}/**/*.flv"]), tree) == ["sub/deep/d.flv"]
    assert names(find_media([f"{tree}/s*"]), tree) == ["sub/c.wav", "sub/deep/d.flv"]


def test_a_file_named_by_itself_is_kept_whatever_its_extension(tree):
    assert names(find_media([tree / "notes.txt"]), tree) == ["notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    path = tmp_path / "take[1].mp4"
    path.write_bytes(b"x")
    assert find_media([path]) == [path]


def test_one_input_need_not_be_in_a_list(tree):
    assert names(find_media(str(tree / "a.jpg")), tree) == ["a.jpg"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("absent.mp4", "no such file or folder"),
        ("empty", "no image, video or audio file"),
        ("*.avi", "matches this pattern"),
    ],
)
def test_what_is_not_there_is_named(tree, given, message):
    with pytest.raises(MediaError, match=message) as raised:
        find_media([tree / given])
    assert given in str(raised.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.JPG", "image"),
        ("a.flv", "video"),
        ("a.gif", "video"),
        ("a.mov", "video"),
        ("a.mp3", "audio"),
        ("a.flac", "audio"),
    ],
)
def test_kind_by_extension_opens_nothing(name, expected):
    assert kind(name) == expected


def test_kind_by_probing(tmp_path, make_video):
    image = tmp_path / "still"
    image.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    assert kind(image) == "image"
    assert kind(shutil.copy(make_video(), tmp_path / "clip.dat")) == "video"
    text = tmp_path / "notes.txt"
    text.write_text("no medium at all\n")
    with pytest.raises(MediaError, match=r"notes\.txt"):
        kind(text)
