"""Each CUDA kernel once, on few numbers, for compute-sanitizer: no comparisons, which would launch kernels of others."""

from __future__ import annotations

import torch

from pyemo.ops import color_deconvolution, color_reconvolution, spectrogram_slices, window_attention


def run_windows() -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        for window, head_dim in ((7, 32), (8, 64), (12, 32), (7, 128), (3, 5)):
            for cosine in (False, True):
                qkv = torch.rand(2, 2 * window, 2 * window, 6 * head_dim).to("cuda", dtype).requires_grad_()
                bias = torch.rand(2, window**2, window**2).to("cuda").requires_grad_()
                scale = (torch.rand(2) + 1).to("cuda").requires_grad_() if cosine else None
                output = window_attention(
                    qkv, bias, num_heads=2, window_size=window, shift_size=window // 2, logit_scale=scale
                )
                output.backward(output.detach())


def run_colors() -> None:
    for dtype in (torch.uint8, torch.float32, torch.float16, torch.float64):
        image = torch.randint(256, (2, 3, 40, 36), dtype=torch.uint8)
        image = (image if dtype == torch.uint8 else (image / 255).to(dtype)).to("cuda")
        for view in (image, image.contiguous(memory_format=torch.channels_last), image[..., 1:]):
            for select in ([0], [0, 1], None):
                leaf = view if dtype == torch.uint8 else view.detach().requires_grad_()
                output = color_deconvolution(leaf, select=select)
                if output.requires_grad:
                    output.backward(output.detach())
                    color_reconvolution(output.detach(), select=select)


def run_spectrograms() -> None:
    for n_fft, mels in ((256, 16), (512, None), (400, 20), (2048, 32)):
        for dtype in (torch.float32, torch.float64):
            sound = torch.rand(2, 6000).to("cuda", dtype).requires_grad_()
            output = spectrogram_slices(
                sound, n_fft=n_fft, hop_length=100, n_mels=mels, top_db=50.0, slice_frames=16, slice_hop=8
            )
            output.backward(output.detach())


if __name__ == "__main__":
    torch.manual_seed(0)
    run_windows()
    run_colors()
    run_spectrograms()
    torch.cuda.synchronize()
    print("done")
