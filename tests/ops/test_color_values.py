"""Values of colour deconvolution and reconvolution: against scikit-image, for every dtype, layout and instruction set."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from skimage import color as skcolor

from pyemo.ops import color_deconvolution, color_reconvolution
from pyemo.ops.reference import color as reference
from pyemo.ops.stains import STAIN_SETS

EXTREMES = np.array(list(itertools.product([0, 1, 2, 127, 254, 255], repeat=3)), dtype=np.uint8)


def pixels(rng: np.random.Generator, count: int = 4000) -> np.ndarray:
    """(N, 3) uint8: random pixels, and every combination of extreme values."""
    return np.concatenate([rng.integers(0, 256, (count, 3), dtype=np.uint8), EXTREMES])


def separated(rgb: np.ndarray, stains: str) -> np.ndarray:
    return skcolor.separate_stains(rgb, getattr(skcolor, f"{stains}_from_rgb"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng()


@pytest.mark.parametrize("stains", STAIN_SETS)
def test_uint8_equals_scikit_image(isa: str, stains: str, rng: np.random.Generator) -> None:
    rgb = pixels(rng)
    expected = separated(rgb, stains)
    image = torch.from_numpy(rgb)
    together = color_deconvolution(image, stains, channel_dim=-1)
    assert together.dtype == torch.float32
    np.testing.assert_allclose(together, expected, rtol=0, atol=1e-6)
    planes = color_deconvolution(image.T.contiguous(), stains, channel_dim=0)
    np.testing.assert_allclose(planes.T, expected, rtol=0, atol=1e-6)


def test_every_byte_of_every_channel(isa: str) -> None:
    rgb = np.full((3, 256, 3), 255, np.uint8)
    for channel in range(3):
        rgb[channel, :, channel] = np.arange(256)
    for stains in STAIN_SETS:
        result = color_deconvolution(rgb, stains, channel_dim=-1)
        np.testing.assert_allclose(result, separated(rgb, stains), rtol=0, atol=1e-6)
        assert not result[:, 255].any(), "white is exactly 0"


@pytest.mark.parametrize("stains", STAIN_SETS)
def test_float_equals_scikit_image(isa: str, stains: str, rng: np.random.Generator) -> None:
    rgb = np.concatenate([rng.random((4001, 3)), pixels(rng, 0) / 255, rng.random((50, 3)) * 2e-6])
    expected = separated(rgb, stains)
    double = color_deconvolution(rgb, stains, channel_dim=-1)
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, expected, rtol=0, atol=1e-13)
    single = rgb.astype(np.float32)
    result = color_deconvolution(single, stains, channel_dim=-1)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, separated(single.astype(np.float64), stains), rtol=0, atol=1e-6)


@pytest.mark.parametrize("stains", STAIN_SETS)
def test_reconvolution_equals_scikit_image(isa: str, stains: str, rng: np.random.Generator) -> None:
    matrix = getattr(skcolor, f"rgb_from_{stains}")
    density = separated(pixels(rng), stains)
    result = color_reconvolution(density, stains, channel_dim=-1)
    np.testing.assert_allclose(result, skcolor.combine_stains(density, matrix), rtol=0, atol=1e-13)
    # In float32 the exponents, up to 30, are themselves not better known than to 2e-6.
    single = density.astype(np.float32)
    result = color_reconvolution(single, stains, channel_dim=-1)
    np.testing.assert_allclose(result, skcolor.combine_stains(single.astype(np.float64), matrix), rtol=0, atol=3e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_dtypes(isa: str, dtype: torch.dtype) -> None:
    image = torch.rand(2, 3, 9, 31).to(dtype)
    image[0, :, 0, :8] = torch.tensor([0, 1, 1e-7, 2e-6, 5e-5, 6e-8, 1e-3, 1]).to(dtype)
    tolerance = 1e-13 if dtype == torch.float64 else 1e-6
    result = color_deconvolution(image, clip=False)
    assert result.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(
        result.double(), reference.color_deconvolution(image.double(), clip=False), rtol=0, atol=tolerance
    )
    density = (torch.rand(2, 3, 9, 31) * 0.5).to(dtype)
    result = color_reconvolution(density)
    torch.testing.assert_close(result.double(), reference.color_reconvolution(density.double()), rtol=0, atol=tolerance)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("select", [None, 0, 2, -1, "eosin", ("dab", "hematoxylin"), (1,), [2, 0, 1]])
def test_select(isa: str, select: object, clip: bool) -> None:
    image = torch.randint(256, (5, 3, 7, 11), dtype=torch.uint8)
    every = reference.color_deconvolution(image.double() / 255, clip=clip)
    names = ["hematoxylin", "eosin", "dab"]
    wanted = [0, 1, 2] if select is None else [select] if isinstance(select, (int, str)) else list(select)  # type: ignore[call-overload]
    rows = [names.index(stain) if isinstance(stain, str) else stain for stain in wanted]
    result = color_deconvolution(image, select=select, clip=clip)  # type: ignore[arg-type]
    torch.testing.assert_close(result.double(), every[:, rows], rtol=0, atol=1e-6)
    assert clip == bool((result >= 0).all())

    # The stains left out of a reconvolution count as none.
    full = torch.zeros_like(every)
    full[:, rows] = every[:, rows]
    again = color_reconvolution(every[:, rows], select=select, clip=clip)  # type: ignore[arg-type]
    torch.testing.assert_close(again, reference.color_reconvolution(full, clip=clip), rtol=1e-12, atol=1e-12)


def test_reconvolution_inverts_deconvolution(isa: str) -> None:
    image = torch.rand(3, 64, 65).clamp(min=1e-5)
    torch.testing.assert_close(
        color_reconvolution(color_deconvolution(image, "hax", clip=False), "hax"), image, rtol=0, atol=1e-5
    )


def test_a_matrix_equals_its_name(isa: str) -> None:
    image = torch.randint(256, (3, 33, 34), dtype=torch.uint8)
    densities = STAIN_SETS["hed"].densities
    expected = color_deconvolution(image, "hed", select=1)
    for matrix in (densities, np.array(densities), torch.tensor(densities, dtype=torch.float64)):
        torch.testing.assert_close(color_deconvolution(image, matrix, select=1), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(
            color_deconvolution(image.numpy(), matrix, select=1), expected.numpy(), rtol=0, atol=1e-6
        )
    rgb = color_reconvolution(expected, "hed", select=1)
    torch.testing.assert_close(color_reconvolution(expected, densities, select=1), rgb, rtol=0, atol=1e-6)


def layouts() -> dict[str, torch.Tensor]:
    """uint8 images with a channel dimension that -3 is not always: views, overlapping and sparse ones among them."""
    base = torch.randint(256, (4, 6, 22, 46), dtype=torch.uint8)
    rgb = base[:, :3]
    return {
        "contiguous": rgb.contiguous(),
        "channels last": rgb.contiguous(memory_format=torch.channels_last),
        "part of the channels": rgb,
        "every second channel": base[:, ::2],
        "every second column": rgb[..., ::2],
        "every third row": rgb[:, :, ::3],
        "transposed": rgb.transpose(-1, -2),
        "transposed channels last": rgb.contiguous(memory_format=torch.channels_last).transpose(-1, -2),
        "expanded batch": rgb[:1].expand(5, -1, -1, -1),
        "expanded columns": rgb[..., :1].expand(-1, -1, -1, 37),
        "grey, expanded to three channels": base[:, :1].expand(-1, 3, -1, -1),
        "crop": rgb[:, :, 3:-4, 5:-6],
        "batch innermost": rgb.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        "odd offset": base.flatten()[1 : 1 + 3 * 7 * 5].view(3, 7, 5),
    }


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", layouts())
def test_strides(isa: str, layout: str, dtype: torch.dtype) -> None:
    image = layouts()[layout]
    if dtype != torch.uint8:
        # Keep the strides: an expanded image stays expanded.
        storage = torch.as_strided(image, (image.untyped_storage().size(),), (1,), 0)
        image = torch.as_strided((storage / 255).to(dtype), image.shape, image.stride(), image.storage_offset())
    before = image.clone()
    for select in (None, "hematoxylin"):
        expected = reference.color_deconvolution(image.double() / (255 if dtype == torch.uint8 else 1), select=select)
        result = color_deconvolution(image, select=select)
        torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-6)
        if dtype == torch.uint8:
            array = color_deconvolution(image.numpy(), select=select)
            np.testing.assert_allclose(array, expected, rtol=0, atol=1e-6)
    assert torch.equal(image, before), "the input is not written to"


def test_numpy_views_that_torch_does_not_have(isa: str) -> None:
    bgr = np.random.default_rng().integers(0, 256, (2, 19, 21, 3), dtype=np.uint8)
    flipped = bgr[:, ::-1, ::-2, ::-1]
    expected = separated(flipped, "hed")
    np.testing.assert_allclose(color_deconvolution(flipped, channel_dim=-1), expected, rtol=0, atol=1e-6)
    big_endian = (flipped / 255).astype(">f8")
    np.testing.assert_allclose(color_deconvolution(big_endian, channel_dim=-1), expected, rtol=0, atol=1e-12)
    record = np.zeros((19, 21), dtype=[("flag", "u1"), ("rgb", "f4", 3)])
    record["rgb"] = flipped[0, :, :1] / 255
    np.testing.assert_allclose(
        color_deconvolution(record["rgb"], channel_dim=-1), separated(record["rgb"], "hed"), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("channel_dim", range(-5, 5))
def test_channel_dim_and_leading_dimensions(isa: str, channel_dim: int) -> None:
    shape = [2, 4, 5, 6, 7]
    shape[channel_dim] = 3
    image = torch.randint(256, shape, dtype=torch.uint8)
    result = color_deconvolution(image, select=("dab", "eosin"), channel_dim=channel_dim)
    shape[channel_dim] = 2
    assert list(result.shape) == shape
    expected = reference.color_deconvolution(image, select=("dab", "eosin"), channel_dim=channel_dim)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [0, 1, 2, 15, 16, 17, 31, 33, 511, 512, 513, 527, 528, 529, 1040])
@pytest.mark.parametrize("interleaved", [False, True])
def test_every_size_writes_all_of_the_output_and_nothing_else(isa: str, size: int, interleaved: bool) -> None:
    """Straight at the kernels, into the middle of poisoned memory."""
    from pyemo.ops.native import native, tensor_view

    assert native is not None
    image = (
        torch.randint(256, (size, 3), dtype=torch.uint8)
        if interleaved
        else torch.randint(256, (3, size), dtype=torch.uint8).T
    )
    memory = torch.full((size + 64, 3), float("nan"))
    output = memory[32 : 32 + size]
    _, constants = reference.unmixing_matrix("hed", None)
    native.color_deconvolution(tensor_view(image), 1, constants, True, tensor_view(output), 2)
    torch.testing.assert_close(output, reference.color_deconvolution(image, channel_dim=1), rtol=0, atol=1e-6)
    assert memory[:32].isnan().all()
    assert memory[32 + size :].isnan().all()


@pytest.mark.parametrize("shape", [(3,), (0, 3, 4, 4), (2, 3, 0, 4), (3, 1, 1), (1, 3, 1, 1)])
def test_smallest_shapes(shape: tuple[int, ...]) -> None:
    dim = shape.index(3)
    image = torch.randint(256, shape, dtype=torch.uint8)
    result = color_deconvolution(image, channel_dim=dim, select=0)
    assert list(result.shape) == [1 if d == dim else size for d, size in enumerate(shape)]
    torch.testing.assert_close(
        result, reference.color_deconvolution(image, channel_dim=dim, select=0), rtol=0, atol=1e-6
    )


def test_large_image_in_several_chunks(isa: str) -> None:
    image = torch.randint(256, (3, 3, 301, 203), dtype=torch.uint8)
    expected = reference.color_deconvolution(image)
    torch.testing.assert_close(color_deconvolution(image), expected, rtol=0, atol=1e-6)
    last = image.contiguous(memory_format=torch.channels_last)
    result = color_deconvolution(last)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_not_a_number_stays_one_and_bright_values_are_taken_as_they_are(isa: str, dtype: torch.dtype) -> None:
    image = torch.full((3, 20), 0.5, dtype=dtype)
    image[1, 3] = float("nan")
    image[2, 5] = float("inf")
    image[0, 7] = 4
    image[:, 9] = -1
    for clip in (True, False):
        result = color_deconvolution(image, channel_dim=0, clip=clip)
        expected = reference.color_deconvolution(image, channel_dim=0, clip=clip)
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
        assert result[:, 3].isnan().all()
    density = torch.tensor([[float("nan"), -40.0, 40.0, -1.0]] * 3, dtype=dtype)
    for clip in (True, False):
        result = color_reconvolution(density, channel_dim=0, clip=clip)
        expected = reference.color_reconvolution(density, channel_dim=0, clip=clip)
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-6, equal_nan=True)
