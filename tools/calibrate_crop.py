"""Measures the ``crop_frame`` of a face detector: how far its boxes are from the square that frames a face as FER2013 does.

    python tools/calibrate_crop.py dlib fer2013/train
    python tools/calibrate_crop.py yunet fer2013/train weights=face_detection_yunet_2026may.onnx

Each image *is* the wanted square. It is enlarged to a random size (96 to 320 pixels), put at a random place of a larger frame filled with
its repeated border, so that the detector sees all of the face and its grid of positions and sizes averages out, and searched. The square
relative to the best box, in the units of :class:`pyemo.contracts.CropFrame`, is printed as median and quartiles over the images.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
import yaml

from pyemo import plugins
from pyemo.contracts import Detector
from pyemo.media import find_media, read_image

_SIDES = 96, 320  # pixels of the enlarged image
_BORDER = 0.5  # of its side, in all four directions


def square_from_box(
    detector: Detector, image: np.ndarray, random: np.random.Generator
) -> tuple[float, float, float] | None:
    """Scale, dx and dy from the best face in a square image; None if none is found that has its centre in the image."""
    side = round(math.exp(random.uniform(math.log(_SIDES[0]), math.log(_SIDES[1]))))
    before = random.integers(0, 2 * round(_BORDER * side), size=2, endpoint=True)
    after = 2 * round(_BORDER * side) - before
    enlarged = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    canvas = cv2.copyMakeBorder(enlarged, before[1], after[1], before[0], after[0], cv2.BORDER_REPLICATE)
    for face in detector.detect([canvas])[0]:
        x, y, width, height = face.box
        centre_x, centre_y = x + width / 2 - before[0], y + height / 2 - before[1]
        if 0 <= centre_x < side and 0 <= centre_y < side:
            return side / math.sqrt(width * height), (side / 2 - centre_x) / width, (side / 2 - centre_y) / height
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("detector", help="name of a plug-in of the group pyemo.detectors")
    parser.add_argument("images", help="folder with square face images in the wanted framing (FER2013's training part)")
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="options of the detector")
    parser.add_argument(
        "--count", type=int, default=4000, help="number of images, drawn at random (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    options = {key: yaml.safe_load(value) for key, value in (option.split("=", 1) for option in arguments.options)}
    detector = plugins.create("detectors", arguments.detector, **options)
    random = np.random.default_rng(arguments.seed)
    paths = find_media([Path(arguments.images)])
    chosen = random.choice(len(paths), size=min(arguments.count, len(paths)), replace=False)
    measured = (square_from_box(detector, read_image(paths[index]), random) for index in chosen)
    found = np.array([square for square in measured if square is not None])
    print(f"{arguments.detector}: face found in {len(found)} of {len(chosen)} images")
    if len(found):
        low, middle, high = np.percentile(found, (25, 50, 75), axis=0)
        for name, values in zip(("scale", "dx", "dy"), np.stack((low, middle, high), axis=1), strict=True):
            print(f"{name:>6}: median {values[1]:+.3f}, quartiles {values[0]:+.3f} {values[2]:+.3f}")
        print("crop_frame = CropFrame(scale={:.3f}, dx={:.3f}, dy={:.3f})".format(*middle))


if __name__ == "__main__":
    main()
