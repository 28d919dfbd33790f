"""Running a trained model on face crops."""

from __future__ import annotations

import numpy as np
import torch

from pyemo.data.faces import to_input
from pyemo.errors import ConfigError, ModelError
from pyemo.weights import LoadedModel


class FaceClassifier:
    """Crops in, probabilities out.

    Args:
        loaded: a model with the modality ``face`` alone.
        device: ``auto`` (an NVIDIA GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ModelError: the model has other modalities.
        ConfigError: no such device.
    """

    def __init__(self, loaded: LoadedModel, device: str = "auto") -> None:
        modalities = loaded.recipe.model.modalities
        if set(modalities) != {"face"}:
            raise ModelError(
                f"model {loaded.recipe.name} wants {', '.join(modalities)}; the recogniser gives faces only"
            )
        self.labels = tuple(loaded.recipe.labels)
        self.face_input = modalities["face"].input
        self.device = _device(device)
        self._model = loaded.model.to(self.device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Crops (N, channels, size, size) uint8 -> probabilities (N, labels) float32, rows sum to 1."""
        if not len(crops):
            return np.empty((0, len(self.labels)), np.float32)
        inputs = to_input(torch.from_numpy(crops).to(self.device), self.face_input)
        # One time step: with channels_last it is the layout of (N, C, H, W) that counts.
        steps = inputs.contiguous(memory_format=torch.channels_last)[:, None]
        return self._model({"face": steps}).logits.float().softmax(dim=1).cpu().numpy()


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"device {name!r}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise ConfigError(f"device {name!r}: this PyTorch sees {torch.cuda.device_count()} NVIDIA GPUs")
    return device
