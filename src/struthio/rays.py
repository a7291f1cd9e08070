"""Ray clusters: what they are called, and how many workers one has room for."""

from __future__ import annotations

from typing import Any

FORMS = "'ray', 'ray:N', 'ray:auto' or 'ray://host:port'"


def named(where: str) -> tuple[int | None, str | None] | None:
    """How many workers (None: as many as there is room for) and the address of a cluster (None: one of our own).

    None where the text names no cluster. "ray" or "ray:N" is one of this machine, "ray:auto" the one that this machine
    is part of, "ray://host:port" one that is reached through its client port.
    """
    kind, _, rest = where.partition(":")
    if where.startswith("ray://") and len(where) > len("ray://"):
        return None, where
    if where in ("ray", "ray:auto"):
        return None, rest or None
    if kind == "ray" and rest.isdecimal() and int(rest):
        return int(rest), None
    return None


def room(ray: Any, wanted: int | None) -> tuple[int, int]:
    """How many workers, as wanted or one for each GPU (core, where there is none), and how many GPUs there are."""
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    return wanted or gpus or max(1, int(resources.get("CPU", 1))), gpus
