"""Emotion recognition from faces and voices. ``pyemo.load()`` returns the packaged recogniser; see the README for the three layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "accelerate", "load", "restore"]

if TYPE_CHECKING:
    from pyemo.nn import accelerate, restore
    from pyemo.recognition import load

_LAZY = {"accelerate": "pyemo.nn", "load": "pyemo.recognition", "restore": "pyemo.nn"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'pyemo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
