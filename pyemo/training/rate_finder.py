"""The learning rate at which the loss falls steepest."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import lightning
from lightning.pytorch.tuner import Tuner
from torch.utils.data import DataLoader

from pyemo.data.batch import Batch
from pyemo.errors import TrainingError
from pyemo.files import written_whole

_STEPS = 100
_LOWEST, _HIGHEST = 1e-7, 1.0

_log = logging.getLogger(__name__)


def find_learning_rate(module: lightning.LightningModule, batches: DataLoader[Batch], run: Path) -> float:
    """A range test over rates growing from 1e-7 to 1 (Smith, "Cyclical Learning Rates for Training Neural Networks", 2017), on a copy of the network.

    The rate is remembered in ``run``, so that a resumed run has the same.

    Raises:
        TrainingError: the loss never falls.
    """
    remembered = run / "learning_rate.txt"
    if remembered.is_file():
        return float(remembered.read_text(encoding="utf-8"))
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_steps=_STEPS,
        default_root_dir=run,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    finder = Tuner(trainer).lr_find(
        copy.deepcopy(module),
        train_dataloaders=batches,
        min_lr=_LOWEST,
        max_lr=_HIGHEST,
        num_training=_STEPS,
        update_attr=False,
        attr_name="learning_rate",
    )
    rate = finder.suggestion() if finder is not None else None
    if rate is None:
        raise TrainingError(
            f"no learning rate from {_LOWEST:g} to {_HIGHEST:g} lets the loss fall; set optimizer.learning_rate"
        )
    with written_whole(remembered) as temporary:
        temporary.write_text(f"{rate!r}\n", encoding="utf-8")
    _log.info("learning rate found: %.3g", rate)
    return rate
