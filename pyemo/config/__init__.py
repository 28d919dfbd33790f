"""Recipes: YAML -> typed configuration.

A recipe says what a system is made of and how it is trained. Unknown keys and wrong types are errors that name the key in dotted form;
nothing is converted silently. ``key=value`` overrides are parsed as YAML and checked by the same rules.
"""

from __future__ import annotations

from pyemo.config.augmentation import AugmentationConfig, VoiceAugmentationConfig
from pyemo.config.candide_au import CandideAuRecipe, VectorClassifierConfig
from pyemo.config.model import FaceInput, Input, ModalityConfig, ModelConfig, VoiceInput
from pyemo.config.reading import Recipe, dump_recipe, load_recipe, parse_recipe, recipe_names
from pyemo.config.recipe import ClassifierRecipe, LateFusionRecipe, PublishedFigures, ThresholdRecipe
from pyemo.config.sampling import FoldsConfig, SamplingConfig, WindowConfig
from pyemo.config.section import PluginConfig, Section
from pyemo.config.training import DistillationConfig, LossConfig, OptimizerConfig, ScheduleConfig, TrainingConfig

__all__ = [
    "AugmentationConfig",
    "CandideAuRecipe",
    "ClassifierRecipe",
    "DistillationConfig",
    "FaceInput",
    "FoldsConfig",
    "Input",
    "LateFusionRecipe",
    "LossConfig",
    "ModalityConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PluginConfig",
    "PublishedFigures",
    "Recipe",
    "SamplingConfig",
    "ScheduleConfig",
    "Section",
    "ThresholdRecipe",
    "TrainingConfig",
    "VectorClassifierConfig",
    "VoiceAugmentationConfig",
    "VoiceInput",
    "WindowConfig",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_names",
]
