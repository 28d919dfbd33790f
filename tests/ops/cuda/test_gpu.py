"""The CUDA kernels on a GPU: values, gradients, layouts, streams, graphs, and torch's own checks of operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from pyemo.ops import color_deconvolution, color_reconvolution, spectrogram_slices, window_attention
from pyemo.ops.reference import color as color_reference
from pyemo.ops.reference import spectrogram as spectrogram_reference
from pyemo.ops.reference import windows as window_reference

pytestmark = pytest.mark.usefixtures("gpu", "poisoned")

HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
WINDOW_TOLERANCES = {HALF: 1e-3, BRAIN: 6e-3, SINGLE: 3e-6, DOUBLE: 1e-12}
WINDOWS = [
    # windows of an image, window, shift, heads, head_dim
    ((8, 8), (7, 7), (3, 3), 3, 32),
    ((4, 4), (7, 7), (0, 0), 6, 32),
    ((3, 5), (8, 8), (4, 4), 3, 32),
    ((2, 3), (12, 12), (6, 6), 4, 32),
    ((2, 2), (16, 16), (8, 8), 2, 32),
    ((2, 1), (24, 24), (12, 12), 2, 32),
    ((3, 3), (7, 7), (3, 3), 2, 64),
    ((2, 2), (7, 7), (3, 3), 2, 128),
    ((2, 2), (7, 7), (3, 3), 1, 160),
    ((4, 7), (5, 3), (2, 0), 5, 8),
    ((2, 2), (9, 10), (3, 7), 2, 24),
    ((3, 2), (7, 9), (0, 4), 2, 17),
    ((1, 1), (2, 2), (0, 0), 1, 16),
]


@pytest.fixture
def poisoned() -> Iterator[None]:
    """torch fills what it hands out for results with NaN, so that what is not written shows."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("extra", ["", "cosine", "mask", "cosine mask"])
@pytest.mark.parametrize("dtype", WINDOW_TOLERANCES, ids=str)
@pytest.mark.parametrize("geometry", WINDOWS, ids=str)
def test_window_attention(assert_near: Callable[..., None], geometry: Any, dtype: torch.dtype, extra: str) -> None:
    (rows, columns), window, shift, heads, head_dim = geometry
    tokens = window[0] * window[1]
    inputs: dict[str, Tensor] = {
        "qkv": torch.randn(2, rows * window[0], columns * window[1], 3 * heads * head_dim),
        "bias": torch.randn(heads, tokens, tokens),
    }
    if "cosine" in extra:
        inputs["logit_scale"] = 10 * torch.rand(heads)
    mask = torch.randn(rows * columns, tokens, tokens) if "mask" in extra else None
    options: dict[str, Any] = {"num_heads": heads, "window_size": window, "shift_size": shift}
    own = {name: value.to("cuda", dtype).requires_grad_() for name, value in inputs.items()}
    exact = {name: value.detach().cpu().double().requires_grad_() for name, value in own.items()}
    rounded = None if mask is None else mask.to("cuda", dtype)
    output = window_attention(**own, mask=rounded, **options)
    expected = window_reference.window_attention(
        **exact, mask=None if rounded is None else rounded.cpu().double(), **options
    )
    assert output.dtype == dtype
    assert_near(output, expected, WINDOW_TOLERANCES[dtype])
    grad = torch.randn(output.shape, device="cuda").to(dtype)
    output.backward(grad)
    expected.backward(grad.cpu().double())
    for name, value in own.items():
        assert value.grad is not None
        assert_near(value.grad, exact[name].grad, 2 * WINDOW_TOLERANCES[dtype], name)
    again = {name: value.detach().clone().requires_grad_() for name, value in own.items()}
    window_attention(**again, mask=rounded, **options).backward(grad)
    assert all(torch.equal(again[name].grad, own[name].grad) for name in own)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [BRAIN, SINGLE], ids=str)
def test_window_attention_of_any_strides(dtype: torch.dtype) -> None:
    options: dict[str, Any] = {"num_heads": 2, "window_size": 4, "shift_size": 2}
    views = [
        torch.randn(2, 48, 8, 12, device="cuda").to(dtype).permute(0, 2, 3, 1),
        torch.randn(2, 12, 8, 48, device="cuda").to(dtype).transpose(1, 2),
        torch.randn(3, 9, 14, 50, device="cuda").to(dtype)[1:, 1:, 2:, 1:49],
        torch.randn(1, 8, 1, 48, device="cuda").to(dtype).expand(2, 8, 12, 48),
    ]
    for view in views:
        assert torch.equal(window_attention(view, **options), window_attention(view.contiguous(), **options))


IMAGES = {
    "planes": lambda t: t,
    "packed": lambda t: t.contiguous(memory_format=torch.channels_last),
    "odd": lambda t: t[..., :-1],
    "reversed copy": lambda t: t[..., 1:, 3::2],
    "transposed": lambda t: t.transpose(2, 3),
    "empty": lambda t: t[:0],
}


@pytest.mark.parametrize("stains", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, SINGLE, DOUBLE, HALF, BRAIN], ids=str)
@pytest.mark.parametrize("layout", IMAGES)
def test_colors(assert_near: Callable[..., None], layout: str, dtype: torch.dtype, stains: int) -> None:
    select = list(range(stains))
    bytes_ = torch.randint(256, (5, 3, 64, 84), dtype=torch.uint8, device="cuda")
    image = IMAGES[layout](bytes_ if dtype == torch.uint8 else (bytes_ / 255).to(dtype))
    exact = image.cpu().double() / 255 if dtype == torch.uint8 else image.cpu().double()
    own_stains = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=DOUBLE)
    for matrix in ("hed", own_stains):
        leaf, leaf_matrix = image, matrix
        exact_leaf, exact_matrix = exact.clone().requires_grad_(), matrix
        if dtype != torch.uint8:
            leaf = image.detach().requires_grad_()
        if isinstance(matrix, Tensor):
            leaf_matrix, exact_matrix = matrix.cuda().requires_grad_(), matrix.clone().requires_grad_()
        output = color_deconvolution(leaf, leaf_matrix, select=select)
        expected = color_reference.color_deconvolution(exact_leaf, exact_matrix, select=select)
        assert_near(output, expected, 1e-12 if dtype == DOUBLE else 5e-7)
        if not output.requires_grad:
            continue
        grad = torch.randn_like(output)
        output.backward(grad)
        expected.backward(grad.cpu().double())
        if isinstance(leaf_matrix, Tensor) and isinstance(exact_matrix, Tensor):
            assert_near(leaf_matrix.grad, exact_matrix.grad, 1e-10 if dtype == DOUBLE else 1e-4, "matrix")
        if leaf.requires_grad:
            tolerance = {DOUBLE: 1e-12, SINGLE: 1e-5, HALF: 1e-3, BRAIN: 8e-3}[dtype]
            assert_near(leaf.grad, exact_leaf.grad, tolerance, "image")
    if dtype != torch.uint8:
        density = image[:, :stains].detach() / 2
        for matrix in ("hed", own_stains):
            output = color_reconvolution(density, matrix, select=select)
            expected = color_reference.color_reconvolution(density.cpu().double(), matrix, select=select)
            assert_near(output, expected, 1e-12 if dtype == DOUBLE else 1e-6, "reconvolution")


SLICES = {"slice_frames": 32, "slice_hop": 16}


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE, torch.int16], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"n_fft": n, "hop_length": hop, "n_mels": mels, **more}
        for n, hop, mels, more in [
            (256, 64, None, {}),
            (512, 64, 128, {}),
            (512, 64, 64, {"power": 1.0, "log": "log", "top_db": 4.0}),
            (400, 160, 80, {"slice_frames": 7, "slice_hop": 11}),
            (1024, 256, 80, {"pad_mode": "constant"}),
            (2048, 512, 128, {"center": False, "tail": "drop"}),
            (4096, 1000, 64, {"pad_mode": "replicate"}),
            (8192, 1000, None, {"pad_mode": "circular"}),
            (45, 7, None, {"power": 3.0, "log": None}),
            (509, 64, 20, {}),
        ]
    ],
    ids=str,
)
def test_spectrogram_slices(assert_near: Callable[..., None], options: dict[str, Any], dtype: torch.dtype) -> None:
    options = {**SLICES, **options}
    noise = torch.randn(2, 3, 20000, dtype=DOUBLE)
    waveform = ((8000 * noise).short() if dtype == torch.int16 else noise.to(dtype)).cuda()
    exact = (waveform.cpu().double() / 32768 if dtype == torch.int16 else waveform.cpu().double()).requires_grad_()
    leaf = waveform if dtype == torch.int16 else waveform.requires_grad_()
    output = spectrogram_slices(leaf, **options)
    expected = spectrogram_reference.spectrogram_slices(exact, **options)
    assert_near(output, expected, 1e-11 if dtype == DOUBLE else 5e-6)
    if dtype != torch.int16:
        grad = torch.randn_like(output)
        output.backward(grad)
        if "top_db" in options:  # which value is the largest may differ by rounding
            assert leaf.grad is not None
            assert leaf.grad.isfinite().all()
            return
        expected.backward(grad.cpu().double())
        assert_near(leaf.grad, exact.grad, 1e-10 if dtype == DOUBLE else 2e-5, "waveform")


def test_streaming_is_bit_for_bit_the_whole() -> None:
    from pyemo.ops import SpectrogramSlicer

    slicer = SpectrogramSlicer(n_mels=64, **SLICES)
    sound = torch.randn(30000, device="cuda")
    live = [slicer.push(chunk) for chunk in sound.split(1111)]
    assert torch.equal(torch.cat([*live, slicer.flush()]), slicer(sound))


def samples() -> dict[str, tuple[str, tuple[Any, ...]]]:
    qkv, bias = torch.randn(2, 4, 6, 24, device="cuda"), torch.randn(2, 6, 6, device="cuda")
    geometry = (2, [2, 3], [1, 0], 0.7)
    scale = torch.rand(2, device="cuda") + 1
    grad = torch.randn(2, 4, 6, 8, device="cuda")
    image = torch.rand(2, 3, 8, 12, device="cuda")
    matrix = torch.rand(3, 2, dtype=DOUBLE, device="cuda")
    from pyemo.ops.spectrogram_settings import checked_options

    settings, _ = checked_options(n_mels=16, **SLICES)
    sound = torch.randn(2, 4000, device="cuda")
    return {
        "window": ("window_attention", (qkv.requires_grad_(), bias.requires_grad_(), None, scale, *geometry)),
        "window half": ("window_attention_without_grad", (qkv.detach().bfloat16(), None, None, None, *geometry)),
        "window backward": (
            "window_attention_backward",
            (grad, qkv.detach(), bias.detach(), None, scale, *geometry, True, True),
        ),
        "colors": ("color_deconvolution", (image.requires_grad_(), matrix.requires_grad_(), [], 1, True)),
        "colors backward": (
            "color_deconvolution_backward",
            (torch.rand(2, 2, 8, 12, device="cuda"), image.detach(), matrix.detach(), [], 1, True, True, True),
        ),
        "spectrogram": ("spectrogram_slices", (sound.requires_grad_(), None, *settings)),
    }


@pytest.mark.parametrize("name", ["window", "window half", "window backward", "colors", "colors backward", "spectrogram"])  # fmt: skip
def test_opcheck(name: str) -> None:
    operator, arguments = samples()[name]
    torch.library.opcheck(getattr(torch.ops.pyemo, operator).default, arguments)


def test_gradcheck() -> None:
    qkv = torch.randn(1, 2, 6, 12, dtype=DOUBLE, device="cuda", requires_grad=True)
    bias = torch.randn(2, 6, 6, dtype=DOUBLE, device="cuda", requires_grad=True)
    scale = torch.rand(2, dtype=DOUBLE, device="cuda", requires_grad=True)

    def attend(qkv: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
        return window_attention(qkv, bias, logit_scale=scale + 1, num_heads=2, window_size=(2, 3), shift_size=(0, 1))

    assert torch.autograd.gradcheck(attend, (qkv, bias, scale))
    assert torch.autograd.gradgradcheck(attend, (qkv, bias, scale))
    image = torch.rand(1, 3, 4, 5, dtype=DOUBLE, device="cuda", requires_grad=True)
    matrix = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=DOUBLE, device="cuda")
    assert torch.autograd.gradcheck(
        lambda i, m: color_deconvolution(i, m, clip=False), (image, matrix.requires_grad_())
    )
    sound = torch.randn(1, 60, dtype=DOUBLE, device="cuda", requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: spectrogram_slices(x, n_fft=16, hop_length=5, log="log", slice_frames=4, slice_hop=3), (sound,)
    )


def operations() -> dict[str, tuple[Callable[..., Tensor], Tensor]]:
    bias = torch.randn(4, 49, 49, device="cuda")
    return {
        "window": (
            lambda qkv: window_attention(qkv, bias, num_heads=4, window_size=7, shift_size=3),
            torch.randn(8, 28, 28, 384, device="cuda", dtype=BRAIN),
        ),
        "colors": (color_deconvolution, torch.rand(8, 3, 128, 128, device="cuda")),
        "spectrogram": (
            lambda sound: spectrogram_slices(sound, n_mels=64, **SLICES),
            torch.randn(8, 16000, device="cuda"),
        ),
    }


@pytest.mark.parametrize("name", ["window", "colors", "spectrogram"])
def test_graph_replay_forward_and_backward(name: str) -> None:
    call, first = operations()[name]
    source = first.clone().requires_grad_()
    grad = torch.randn_like(call(source))

    def step() -> tuple[Tensor, Tensor]:
        output = call(source)
        return output, torch.autograd.grad(output, source, grad)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = step()
    for _ in range(2):
        with torch.no_grad():
            source.copy_(torch.rand_like(source))
        graph.replay()
        for got, expected in zip([t.clone() for t in recorded], step(), strict=True):
            assert torch.equal(got, expected)


@pytest.mark.parametrize("name", ["window", "colors", "spectrogram"])
def test_two_streams(name: str) -> None:
    """Work is queued behind what its stream has, and on no other stream."""
    call, source = operations()[name]
    expected = call(source)
    streams = [torch.cuda.Stream(), torch.cuda.Stream()]
    inputs = [torch.zeros_like(source), torch.zeros_like(source)]
    torch.cuda.synchronize()
    results = []
    for stream, value in zip(streams, inputs, strict=True):
        with torch.cuda.stream(stream):
            torch.cuda._sleep(20_000_000)
            value.copy_(source)
            results.append(call(value))
    torch.cuda.synchronize()
    assert all(torch.equal(result, expected) for result in results)


def test_the_current_device_stays() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU; tests of the host side have two in an emulation")
    image = torch.rand(1, 3, 64, 64, device="cuda:1")
    with torch.cuda.device(0):
        assert color_deconvolution(image).device.index == 1
        assert torch.cuda.current_device() == 0


def test_more_than_two_to_the_31_elements(assert_near: Callable[..., None]) -> None:
    if torch.cuda.mem_get_info()[0] < 40 << 30:
        pytest.skip("needs 40 GB of GPU memory")
    torch.use_deterministic_algorithms(False)  # filling would take as long again
    image = torch.randint(256, (240, 3, 2000, 2000), dtype=torch.uint8, device="cuda")  # 2.88e9
    stained = color_deconvolution(image, select=0)
    for index in (0, 179, 239):
        assert_near(stained[index], color_deconvolution(image[index].clone(), select=0), 1e-7, f"image {index}")
    del image, stained
    qkv = torch.randn(3000, 56, 56, 288, dtype=BRAIN, device="cuda")  # 2.7e9
    output = window_attention(qkv, num_heads=3, window_size=7, shift_size=3)
    for index in (0, 2500, 2999):
        own = window_attention(qkv[index : index + 1].clone(), num_heads=3, window_size=7, shift_size=3)
        assert torch.equal(output[index : index + 1], own)
    del qkv, output
    sound = torch.randn(3, 730_000_000, device="cuda")  # 2.2e9
    slices = spectrogram_slices(sound, n_fft=256, hop_length=1000, n_mels=8, **SLICES)
    own = spectrogram_slices(sound[2, -100_000_000:].clone(), n_fft=256, hop_length=1000, n_mels=8, **SLICES)
    assert_near(slices[2, -1000:, :, :16], own[-1000:, :, :16], 1e-6, "slices")


@pytest.mark.parametrize("name", ["window", "colors", "spectrogram"])
def test_compile(name: str, assert_near: Callable[..., None]) -> None:
    call, source = operations()[name]
    torch.use_deterministic_algorithms(False)
    compiled = torch.compile(lambda x: call(x * 0.5) + 1, fullgraph=True)
    assert_near(compiled(source), call(source * 0.5) + 1, 1e-6)


def test_swin_of_timm_accelerated(assert_near: Callable[..., None]) -> None:
    timm = pytest.importorskip("timm")
    import pyemo

    torch.manual_seed(0)
    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=10, drop_path_rate=0.0).cuda().eval()
    images = torch.randn(2, 3, 224, 224, device="cuda")
    with torch.no_grad():
        expected = model(images)
        assert pyemo.accelerate(model).swapped
        torch.backends.cuda.matmul.allow_tf32 = False
        assert_near(model(images), expected, 1e-4)
