"""What every part of a recipe has in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]


class Section(BaseModel):
    """Base of every part of a recipe: no unknown keys, no silent conversion, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PluginConfig(Section):
    """A plug-in by its name (or ``distribution:name``) and the options it is created with."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
