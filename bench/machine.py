"""What the numbers were measured on: processor, threads and versions; no names of machines or people, and no paths."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

import struthio as st
from bench import peers


def facts(device: torch.device | None = None) -> dict[str, object]:
    """What a reader needs to judge the numbers, with the name of the GPU where the networks are on one."""
    card = {"card": torch.cuda.get_device_name(device)} if device is not None and device.type == "cuda" else {}
    return {
        **card,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "struthio": st.__version__,
        **peers.installed(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
