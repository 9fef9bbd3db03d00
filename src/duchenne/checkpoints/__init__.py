"""Model folders: JSON, plain arrays, boosters and safetensors, hashed and never pickled.

A format's name maps to the store of the system that reads it; what a model computes is not known here.
"""

from duchenne.checkpoints.audit import ModelFolder, describe, digest, read
from duchenne.checkpoints.folder import (
    Store,
    card,
    load,
    load_as,
    load_classifier,
    locate,
    save,
    save_members,
    shipped,
    tidy,
)

__all__ = [
    "ModelFolder",
    "Store",
    "card",
    "describe",
    "digest",
    "load",
    "load_as",
    "load_classifier",
    "locate",
    "read",
    "save",
    "save_members",
    "shipped",
    "tidy",
]
