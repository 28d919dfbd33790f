"""Weights from elsewhere: read safely, fitted strictly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

from safetensors import SafetensorError
from timm.models import adapt_input_conv, load_state_dict
from torch import Tensor, nn

from pyemo.errors import ModelError

Tensors = dict[str, Tensor]


def read_weights(file: str) -> Tensors:
    """Tensors by name from a ``.safetensors`` file or a PyTorch checkpoint, of which nothing but tensors is unpickled.

    A checkpoint may hold them under ``state_dict`` or ``model``, and their names may begin with ``module.``, as training scripts write them.

    Raises:
        ModelError: the file is absent or unreadable, or holds something else.
    """
    if not Path(file).is_file():
        raise ModelError(f"weights: there is no file {file}")
    try:
        tensors = load_state_dict(file, weights_only=True)
    except (SafetensorError, UnpicklingError, OSError, EOFError, RuntimeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"weights: {file} is not readable as safetensors or as a PyTorch checkpoint: {error}"
        ) from error
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ModelError(f"weights: {file}: expected tensors by name, but '{name}' is a {type(tensor).__name__}")
    return tensors


def fit_weights(
    model: nn.Module, tensors: Tensors, origin: str, *, classifier: Sequence[str], first_convolutions: Sequence[str]
) -> None:
    """Fill ``model``, a feature extractor, from the tensors of a classifier of the same architecture.

    Args:
        model: has no classifier.
        tensors: by name.
        origin: names them in errors.
        classifier: names of the modules that only the tensors have; left out.
        first_convolutions: names of the convolutions that see the image; made for 3 channels, they are adapted to the model's number
            as timm does it (summed for one channel).

    Raises:
        ModelError: a weight is missing, unexpected or of another shape.
    """
    expected = model.state_dict()
    heads = tuple(f"{name}." for name in classifier)
    tensors = {name: tensor for name, tensor in tensors.items() if name in expected or not name.startswith(heads)}
    for name in (f"{convolution}.weight" for convolution in first_convolutions):
        if name in expected and name in tensors and tensors[name].ndim == 4 and tensors[name].shape[1] == 3:
            tensors[name] = adapt_input_conv(expected[name].shape[1], tensors[name])
    # A counter that files from before PyTorch 0.4.1 lack and nothing here needs.
    required = {name for name in expected if not name.endswith(".num_batches_tracked")}
    differences = {"missing": required - tensors.keys(), "unexpected": tensors.keys() - expected.keys()}
    problems = [f"{what} {_some(sorted(names))}" for what, names in differences.items() if names]
    problems += [
        f"'{name}' has the shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
        for name, tensor in tensors.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    if problems:
        raise ModelError(f"weights: {origin} does not fit: {'; '.join(problems)}")
    model.load_state_dict(tensors, strict=False)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
