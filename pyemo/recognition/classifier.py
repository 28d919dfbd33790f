"""Running a trained model on face crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pyemo.data.faces import to_input
from pyemo.errors import ConfigError, ModelError
from pyemo.recognition.late_fusion import Relabelling
from pyemo.weights import LoadedModel


class FaceClassifier:
    """Crops in, probabilities out.

    Args:
        loaded: a model with one modality, which sees faces.
        device: ``auto`` (an NVIDIA GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        labels: of the probabilities, if not the model's own (:class:`~pyemo.recognition.late_fusion.Relabelling`).

    Raises:
        ModelError: the model has other modalities.
        ConfigError: no such device.
    """

    def __init__(self, loaded: LoadedModel, device: str = "auto", labels: Sequence[str] | None = None) -> None:
        modalities = loaded.recipe.model.modalities
        inputs = loaded.recipe.model.face_inputs
        if len(modalities) != 1 or len(inputs) != 1:
            raise ModelError(
                f"model {loaded.recipe.name} has the modalities {', '.join(modalities)}; expected one, of a face"
            )
        self.labels = tuple(labels or loaded.recipe.labels)
        self._relabel = Relabelling(loaded.recipe.labels, self.labels)
        self._modality, self.face_input = next(iter(inputs.items()))
        self.device = choose_device(device)
        self._model = loaded.model.to(self.device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Crops (N, channels, size, size) uint8 -> probabilities (N, labels) float32, rows sum to 1."""
        if not len(crops):
            return np.empty((0, len(self.labels)), np.float32)
        inputs = to_input(torch.from_numpy(crops).to(self.device), self.face_input)
        # One time step: with channels_last it is the layout of (N, C, H, W) that counts.
        steps = inputs.contiguous(memory_format=torch.channels_last)[:, None]
        return self._relabel(self._model({self._modality: steps}).logits.float().softmax(dim=1).cpu().numpy())


def choose_device(name: str) -> torch.device:
    """``auto`` is an NVIDIA GPU if there is one. Raises :class:`~pyemo.errors.ConfigError` if there is no such device."""
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
