"""Modules on the operations of :mod:`pyemo.ops`, and :func:`accelerate`, which puts them into models of others."""

from __future__ import annotations

from pyemo.nn.acceleration import AccelerationReport, accelerate, restore

__all__ = ["AccelerationReport", "accelerate", "restore"]
