"""Which runtime was the fastest here, kept beside a server's vectors: measuring takes seconds, and
the next start on the same machine would find the same."""

from __future__ import annotations

import json
import logging
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from m6rec.serving.runtimes.choose import AUTO, RUNTIMES

log = logging.getLogger(__name__)

FILE = "runtime.json"
CPU = Path("/proc/cpuinfo")
MATTERS = ("model name", "flags", "Features")


def remembered(folder: Path | None) -> str:
    """The runtime's name, or "auto" where it has to be measured."""
    if folder is None or not (folder / FILE).is_file():
        return AUTO
    try:
        told = json.loads((folder / FILE).read_text("utf-8"))
        name, machine = told["runtime"], told["machine"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        log.warning("%s can not be read (%s); it is measured anew", folder / FILE, error)
        return AUTO
    return str(name) if name in RUNTIMES and machine == this_machine() else AUTO


def remember(folder: Path | None, name: str) -> None:
    """Keeps what was measured."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{FILE}.unfinished"
    told = {"runtime": name, "machine": this_machine()}
    unfinished.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(folder / FILE)


def this_machine() -> dict[str, object]:
    """What the choice depends on."""
    lines = CPU.read_text("utf-8").splitlines() if CPU.is_file() else [platform.processor()]
    return {
        "processor": sorted({line for line in lines if line.startswith(MATTERS)}) or lines,
        "threads": torch.get_num_threads(),
        "releases": {name: _release(name) for name in ("torch", "openvino")},
    }


def _release(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
