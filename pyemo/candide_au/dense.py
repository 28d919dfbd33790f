"""The two small networks of the thesis (section 4.2.1)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from pyemo.candide_au.features import ACTION_UNIT_FEATURES, LANDMARK_FEATURES
from pyemo.config.candide_au import VectorClassifierConfig
from pyemo.errors import DataError, TrainingError


class DenseNetwork(nn.Module):
    """``au``: dense 8, ReLU, dense n. ``fp68``: dense 16 with batch norm and ReLU, dropout 0.8, dense n. (N, F) -> logits (N, n).

    Features are first standardised by the training samples' mean and deviation, which are part of the state.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, features: Literal["au", "fp68"], classes: int) -> None:
        super().__init__()
        inputs = ACTION_UNIT_FEATURES if features == "au" else LANDMARK_FEATURES
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))
        self.layers = (
            nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, classes))
            if features == "au"
            else nn.Sequential(
                nn.Linear(inputs, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.8), nn.Linear(16, classes)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers((x - self.mean) / self.deviation)
        return logits


@dataclass(frozen=True)
class DenseClassifier:
    network: DenseNetwork
    """In evaluation mode, on the CPU."""
    epochs: int
    """After how many the weights were taken."""

    @torch.inference_mode()
    def probabilities(self, features: np.ndarray, classes: int) -> np.ndarray:
        """(N, F) -> (N, ``classes``) float32, rows sum to 1."""
        found: np.ndarray = self.network(torch.from_numpy(features).float()).softmax(dim=1).numpy()
        assert found.shape[1] == classes
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """All that makes the classifier, by name."""
        state = {name: tensor.numpy() for name, tensor in self.network.state_dict().items()}
        return {**state, "epochs": np.asarray(self.epochs)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], network: DenseNetwork) -> DenseClassifier:
        """The inverse of :meth:`arrays`, into a ``network`` of the same shape; RuntimeError or KeyError if they do not fit."""
        state = {name: torch.from_numpy(array) for name, array in arrays.items() if name != "epochs"}
        network.load_state_dict(state)
        return cls(network.eval(), int(arrays["epochs"]))


def train_dense(
    features: np.ndarray,
    targets: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray],
    config: VectorClassifierConfig,
    *,
    kind: Literal["au", "fp68"],
    classes: int,
    seed: int,
) -> DenseClassifier:
    """Adam on the cross entropy; the same input gives the same weights.

    Args:
        features: (N, F) float32.
        targets: (N,) class indices.
        validation: the same for samples that are not trained on; with some, the weights of the epoch with their lowest loss are kept and
            training stops early, with none the last epoch's are.
        config: epochs, batch size, learning rate, class weights.
        kind: which of the networks.
        classes: outputs.
        seed: of the weights, the order of the samples and dropout; PyTorch's global state is left as it was.

    Raises:
        DataError: fewer than two classes, or a single sample.
        TrainingError: the loss is not finite.
    """
    present, counts = np.unique(targets, return_counts=True)
    if len(present) < 2:
        raise DataError(f"training needs samples of at least two classes, got {len(targets)} of {len(present)}")
    weights = torch.ones(classes)
    if config.class_weights == "balanced":
        weights[present] = torch.from_numpy(len(targets) / (len(present) * counts)).float()
    inputs, held_out = torch.from_numpy(features).float(), torch.from_numpy(validation[0]).float()
    expected, held_out_expected = torch.from_numpy(targets), torch.from_numpy(validation[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DenseNetwork(kind, classes)
        network.mean.copy_(inputs.mean(dim=0))
        network.deviation.copy_(inputs.std(dim=0).clamp_min(1e-6))
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
        # Batch norm cannot be trained on a batch of one, which a last, short batch may be.
        short = len(inputs) % config.batch_size == 1
        loader = DataLoader(TensorDataset(inputs, expected), config.batch_size, shuffle=True, drop_last=short)
        best, best_loss, best_epoch = copy.deepcopy(network.state_dict()), np.inf, 0
        for epoch in range(1, config.epochs + 1):
            network.train()
            for batch, wanted in loader:
                loss = F.cross_entropy(network(batch), wanted, weights)
                if not torch.isfinite(loss):
                    raise TrainingError(
                        f"the loss of epoch {epoch} is {loss.item()}; try a lower classifier.learning_rate"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if not len(held_out):
                best, best_epoch = network.state_dict(), epoch
                continue
            network.eval()
            with torch.no_grad():
                found = float(F.cross_entropy(network(held_out), held_out_expected, weights))
            if found < best_loss:
                best, best_loss, best_epoch = copy.deepcopy(network.state_dict()), found, epoch
            elif epoch - best_epoch >= config.patience:
                break
        network.load_state_dict(best)
    return DenseClassifier(network.eval(), best_epoch)
