"""Recipes: YAML -> typed configuration."""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from pyemo.config.candide_au import CandideAuRecipe
from pyemo.config.recipe import ClassifierRecipe, LateFusionRecipe, ThresholdRecipe
from pyemo.config.section import Section
from pyemo.errors import ConfigError, did_you_mean

Recipe = ClassifierRecipe | LateFusionRecipe | ThresholdRecipe | CandideAuRecipe
_SYSTEMS: dict[str, type[Section]] = {
    "classifier": ClassifierRecipe,
    "late-fusion": LateFusionRecipe,
    "threshold": ThresholdRecipe,
    "candide-au": CandideAuRecipe,
}
_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="system")])


class _Loader(yaml.SafeLoader):
    """YAML as people write it: ``1e-3`` is a number (YAML 1.1 wants ``1.0e-3``), a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)$"),
    list("-+.0123456789"),
)


def recipe_names() -> list[str]:
    """Names of the recipes inside the package."""
    return sorted(entry.name[:-5] for entry in files("pyemo.recipes").iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read a packaged recipe by name, or a YAML file, and apply ``dotted.key=value`` overrides.

    Raises:
        ConfigError: unknown recipe, unreadable YAML, unknown key, wrong type or value; the message names the dotted key.
    """
    text, origin = _read(recipe)
    return parse_recipe(text, origin, overrides)


def parse_recipe(text: str, origin: str, overrides: Sequence[str] = ()) -> Recipe:
    """Like :func:`load_recipe` for YAML text; ``origin`` names it in errors."""
    tree = _parse(text, origin)
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin}: expected a mapping of keys to values, got {type(tree).__name__}")
    for override in overrides:
        _apply(tree, override)
    try:
        return _ADAPTER.validate_python(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, tree, origin)) from None


def dump_recipe(recipe: BaseModel) -> str:
    """The resolved recipe as YAML; :func:`parse_recipe` of it gives an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(recipe: str | os.PathLike[str]) -> tuple[str, str]:
    path = Path(recipe)
    if path.suffix in {".yaml", ".yml"}:
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except OSError as error:
            raise ConfigError(f"cannot read recipe {path}: {error.strerror or error}") from error
    packaged = files("pyemo.recipes") / f"{recipe}.yaml"
    if not packaged.is_file():
        raise ConfigError(
            f"no recipe is called {os.fspath(recipe)!r}; there are {', '.join(recipe_names())}{did_you_mean(os.fspath(recipe), recipe_names())} "
            "(or give a file that ends in .yaml)"
        )
    return packaged.read_text(encoding="utf-8"), f"recipe {os.fspath(recipe)}"


def _parse(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # which is a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not readable as YAML: {error}") from error


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise ConfigError(f"override {override!r}: expected dotted.key=value, for instance training.epochs=20")
    node = tree
    for depth, part in enumerate(parts[:-1]):
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"override {override!r}: {'.'.join(parts[: depth + 1])} is a value, not a section")
    node[parts[-1]] = _parse(value, f"override {override!r}")


def _explain(error: ValidationError, tree: dict[str, Any], origin: str) -> str:
    lines = []
    for item in error.errors():
        # Discriminators of unions appear in the location; users do not write them.
        location = [part for part in item["loc"] if part not in {*_SYSTEMS, "face-input", "voice-input", "[key]"}]
        key = ".".join(str(part) for part in location)
        if item["type"] == "extra_forbidden":
            known = _known_keys(tree, location[:-1])
            lines.append(
                f"unknown key '{key}'{did_you_mean(str(location[-1]), known)} (known here: {', '.join(known)})"
            )
        elif item["type"] == "missing":
            lines.append(f"key '{key}' is missing")
        elif item["type"].startswith("union_tag"):
            where, choices = ("system", list(_SYSTEMS)) if not location else (f"{key}.kind", ["face", "voice"])
            value = item["input"].get(where.rpartition(".")[2]) if isinstance(item["input"], dict) else item["input"]
            lines.append(f"key '{where}': expected {' or '.join(map(repr, choices))}, got {value!r}")
        else:
            lines.append(
                f"key '{key}': {item['msg'][0].lower() + item['msg'][1:]}, got {item['input']!r} ({type(item['input']).__name__})"
            )
    return f"{origin}: " + "; ".join(dict.fromkeys(lines))


def _known_keys(tree: dict[str, Any], location: list[Any]) -> list[str]:
    """Keys of the section at ``location``."""
    model: Any = _SYSTEMS[tree["system"]]
    value: Any = tree
    for part in location:
        value = value[part]
        model = model.model_fields[part].annotation if _is_section(model) else typing.get_args(model)[-1]
        model = _section_in(model, value)
    return sorted(model.model_fields)


def _section_in(annotation: Any, value: Any) -> Any:
    """The section, or the mapping or list of sections, among the alternatives of an annotation."""
    if typing.get_origin(annotation) is Annotated:
        return _section_in(typing.get_args(annotation)[0], value)
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        choices = [_section_in(choice, value) for choice in typing.get_args(annotation)]
        sections = [choice for choice in choices if _is_section(choice)]
        kind = value.get("kind", "face") if isinstance(value, dict) else None
        # Of several, that of the kind which the recipe names.
        of_kind = [
            choice
            for choice in sections
            if kind in typing.get_args(choice.model_fields.get("kind", Field()).annotation)
        ]
        return next(iter(of_kind or sections or choices))
    return annotation


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
