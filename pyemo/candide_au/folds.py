"""The folds of ``candide-au`` as every cross-validation is shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pyemo.candide_au.samples import class_indices
from pyemo.candide_au.training import RowEvaluation
from pyemo.config import CandideAuRecipe
from pyemo.contracts import Manifest
from pyemo.evaluation.classification import score
from pyemo.evaluation.predictions import predictions_table
from pyemo.training.crossval import FOLD_COLUMNS, CrossValidation


def join_folds(
    recipe: CandideAuRecipe, data: str, manifest: Manifest, numbers: np.ndarray, results: Sequence[RowEvaluation]
) -> CrossValidation:
    """What :func:`~pyemo.candide_au.training.cross_validate_candide_au` gave for the folds ``numbers`` (rows,), one result a fold.

    Figures of the folds and ``scores`` count rows without landmarks as wrong; ``predictions`` have none of these.
    """
    table, labels = manifest.table, tuple(recipe.labels)
    known = class_indices(manifest, recipe) >= 0
    rows, tables = [], []
    for fold, result in zip(np.unique(numbers).tolist(), results, strict=True):
        of_fold = table[(numbers == fold) & known]
        subjects = " ".join(sorted({str(name) for name in of_fold["subject"].dropna()}))
        scores = result.scores
        rows.append((fold, subjects, len(of_fold), scores.accuracy, scores.balanced_accuracy, scores.macro_f1))
        tables.append(predictions_table(result.evaluation, table).assign(fold=fold))
    together = pd.concat(tables, ignore_index=True)
    decided = dict(zip(together["row"], together["prediction"], strict=True))
    wanted = np.flatnonzero(known)
    scores = score([table["label"].iloc[row] for row in wanted], [decided.get(row) for row in wanted], labels)
    return CrossValidation(recipe, data, pd.DataFrame(rows, columns=list(FOLD_COLUMNS)), together, scores)
