"""Repairs what hides a gradient, so that attacks measure the model and not its disguise."""

from __future__ import annotations

from struthio.audit.repair.adapt import adapt
from struthio.audit.repair.adapted import Adapted

__all__ = ["Adapted", "adapt"]
