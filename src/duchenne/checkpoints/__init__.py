"""Model folders: JSON, plain arrays, boosters and safetensors, hashed and never pickled.

A format's name maps to the module that reads it; what a model computes is not known here.
"""

from duchenne.checkpoints.folder import (
    CLIP,
    EXPRESSION,
    FORMAT,
    HYBRID,
    LSTM_PB,
    METHOD,
    MICRO,
    card,
    describe,
    digest,
    load,
    load_descriptors,
    load_expression,
    load_judge,
    load_micro,
    locate,
    save,
    shipped,
    tidy,
    verify,
)

__all__ = [
    "CLIP",
    "EXPRESSION",
    "FORMAT",
    "HYBRID",
    "LSTM_PB",
    "METHOD",
    "MICRO",
    "card",
    "describe",
    "digest",
    "load",
    "load_descriptors",
    "load_expression",
    "load_judge",
    "load_micro",
    "locate",
    "save",
    "shipped",
    "tidy",
    "verify",
]
