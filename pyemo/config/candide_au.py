"""The recipe of ``candide-au``: action units or landmarks, and a classifier of vectors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pyemo.config.recipe import Described
from pyemo.config.sampling import FoldsConfig
from pyemo.config.section import NonNegative, PluginConfig, Positive, Section


class VectorClassifierConfig(Section):
    """What decides from one vector of features."""

    name: Literal["svm-linear", "svm-poly", "ssvm", "dense"] = "dense"
    """``svm-*``: a support vector machine for each pair of classes. ``ssvm``: one linear machine for all classes, trained on the structured
    hinge loss. ``dense``: the thesis's small network for the recipe's features."""
    c: Annotated[list[Positive], Field(min_length=1)] = [0.1, 1.0, 10.0]
    """SVM and SSVM: weight of the training errors; of several, the one with the best cross-validated balanced accuracy."""
    degree: Annotated[int, Field(ge=1)] = 3
    """Of the polynomial kernel."""
    class_weights: Literal["none", "balanced"] = "none"
    """Balanced: errors weigh inversely to the frequency of the class."""
    folds: Annotated[int, Field(ge=2)] = 5
    """SVM and SSVM: of the cross-validation within the training rows that chooses ``c`` and scales the probabilities; by subject."""
    epochs: Annotated[int, Field(ge=1)] = 300
    """Of the dense network."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: Positive = 1e-3
    """Of Adam."""
    patience: Annotated[int, Field(ge=1)] = 30
    """Epochs without a lower validation loss before the training of the dense network stops, where there are validation rows."""


class CandideAuRecipe(Described):
    """Action units of Candide-3, or the 68 landmarks themselves, to emotions (Chang 2021, sections 4.1 and 4.2)."""

    system: Literal["candide-au"]
    labels: Annotated[list[str], Field(min_length=2)]
    features: Literal["au", "fp68"] = "au"
    """``au``: the eight action units. ``fp68``: x and y of the 68 landmarks, the face's place, size and roll removed."""
    detector: PluginConfig = PluginConfig(name="dlib-68")
    """Finds the faces and their landmarks."""
    personalise: Literal["neutral", "first-frames", "none"] = "neutral"
    """From what a face's shape is taken, for action units. ``neutral``: the image in the table's column ``neutral``, else the subject's rows with
    the label of that name, else as ``first-frames``: the first frames of a clip, the image itself. ``none``: everybody has the mesh's shape."""
    neutral_label: str = "neutral"
    neutral_frames: Annotated[int, Field(ge=1)] = 10
    """At most so many frames or images make the shape."""
    prior: NonNegative = 0.03
    """Of the fit (:mod:`pyemo.candide.fit`); 0 is the thesis's own objective."""
    classifier: VectorClassifierConfig = VectorClassifierConfig()
    train_splits: Annotated[list[str], Field(min_length=1)] = ["train"]
    validation_splits: list[str] = ["validation"]
    """For early stopping of the dense network, and for the figures of the card; empty: none."""
    folds: FoldsConfig = FoldsConfig()
    """Of its cross-validation; ``classifier.folds`` are within the training rows of each."""
    seed: Annotated[int, Field(ge=0)] = 0
