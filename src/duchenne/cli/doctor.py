"""Checks of the installation: packages, models and device."""

from __future__ import annotations

import platform
from importlib import metadata

from duchenne import __version__, checkpoints
from duchenne.errors import DuchenneError
from duchenne.registry import LANDMARKERS

_PACKAGES = (
    *("av", "dlib-bin", "numpy", "opencv-contrib-python-headless", "safetensors"),
    *("scikit-learn", "scipy", "torch", "xgboost-cpu", "xgboost"),
)


def findings() -> dict[str, str]:
    """Name → finding, in order; problems start with "PROBLEM"."""
    found = {"duchenne": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            if not package.startswith("xgboost"):
                found[package] = "PROBLEM: not installed; pip install duchenne again"
    others = [n for n in ("opencv-python", "opencv-python-headless", "opencv-contrib-python") if _installed(n)]
    if others:
        found["opencv"] = f"PROBLEM: {others[0]} overwrites opencv-contrib-python-headless; uninstall both, install one"
    try:
        found["landmarks"] = LANDMARKERS.load("dlib68")().version
    except DuchenneError as error:
        found["landmarks"] = f"PROBLEM: {error}"
    for name in checkpoints.shipped():
        try:
            found[f"model {name}"] = f"ok  sha256 {checkpoints.load(name)[1]['sha256']}"
        except DuchenneError as error:
            found[f"model {name}"] = f"PROBLEM: {error}"
    from duchenne.learn import optim

    found["device"] = optim.described(optim.device_of("auto"))
    return found


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
