"""Packages that are called like the function they are named for: `struthio.audit(...)`, `struthio.certify(...)`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def callable_as(package: str, function: Callable[..., Any]) -> None:
    """Let a package be called: importing it puts the module in the place of the function of the same name."""
    kind = type("Room", (ModuleType,), {"__call__": staticmethod(function), "__doc__": function.__doc__})
    sys.modules[package].__class__ = kind
