"""One line an epoch: a CSV file that is always whole, and the terminal."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback

from pyemo.files import written_whole

COLUMNS = (
    "epoch",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "validation_macro_f1",
    "seconds",
)


class EpochLog(Callback):
    """Writes ``metrics.csv`` after each epoch and prints the same line with the time left. A resumed run keeps the epochs before it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        self._began = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= trainer.current_epoch]
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        seconds = time.monotonic() - self._began
        self._began += seconds
        measured = [name for name in COLUMNS[2:-1] if name in metrics]
        values = {
            "epoch": trainer.current_epoch + 1,
            "learning_rate": f"{trainer.optimizers[0].param_groups[0]['lr']:.6g}",
            **{name: f"{metrics[name]:.6g}" for name in measured},
            "seconds": f"{seconds:.2f}",
        }
        self.rows.append({name: str(values.get(name, "")) for name in COLUMNS})
        with written_whole(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        epochs = int(trainer.max_epochs or 0)
        left = (epochs - trainer.current_epoch - 1) * seconds
        shown = "  ".join(f"{name.replace('_', ' ')} {metrics[name]:.4f}" for name in measured)
        print(
            f"epoch {trainer.current_epoch + 1}/{epochs}  {shown}  {seconds:.0f} s, at most {left / 60:.0f} min left",
            flush=True,
        )
