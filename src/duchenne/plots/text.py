"""Numbers as text with units."""

from __future__ import annotations

import json
import math
from typing import TypeGuard

import numpy as np


def number(value: object, unit: str = "") -> str:
    """A number in en-US notation with its unit; "not measured" for None and NaN."""
    if isinstance(value, str):
        return value
    if not finite(value):
        return "not measured"
    size = abs(value)
    if isinstance(value, (int, np.integer)) or size >= 100 or unit in ("°", "deg"):
        form = ",.0f"
    else:
        form = ".1f" if size >= 10 else ".2f" if size >= 0.1 or unit == "s" else ".2g"
    text = f"{value:{form}}"
    glue = {"": "", "deg": "°", "°": "°", "%": "%"}.get(unit, f"\u00a0{unit}")
    return text.replace("-", "−") + glue


def toward(contribution: float) -> str:
    """The label that a contribution to the log-odds of genuine supports."""
    return "neither" if contribution == 0 else "spontaneous" if contribution > 0 else "posed"


def measured(value: object, unit: str = "") -> str:
    """A measurement of a face; interocular distances ("iod", "eye distances") as a percentage."""
    if not finite(value):
        return number(value, unit)
    first, _, rest = unit.partition("/")
    if first in ("iod", "eye distances"):
        share = f"{100 * value + 0.0:.{0 if abs(value) >= 0.1 else 1}f}".replace("-", "−").replace("−0.0", "0.0")
        return f"{share}% of the eye distance" + {"": "", "s": " per second", "s²": " per s²"}.get(rest, f"/{rest}")
    if unit in ("°", "deg") and abs(value) < 10:
        return f"{value:.1f}°".replace("-", "−")
    return number(value, unit)


def percent(value: object) -> str:
    """A share 0..1 as whole percent; text passes through."""
    if isinstance(value, str):
        return value
    return f"{100 * value:.0f}%" if finite(value) else "not measured"


def words(name: object) -> str:
    """`lip_corner_pull` as a heading: "Lip corner pull"."""
    text = str(name).replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def plain(value: object) -> str:
    """Any fact of a model card as text."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list) and len(value) == 2 and all(map(finite, value)):
        return " to ".join(map(number, value))
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def finite(value: object) -> TypeGuard[float]:
    """True for a number that is neither NaN nor infinite."""
    return isinstance(value, (int, float, np.number)) and math.isfinite(value)


def clamp(value: float, lo: float = 0.0, hi: float = 100.0) -> float:
    """`value` clipped to lo..hi and rounded to hundredths."""
    return round(min(max(value, lo), hi), 2)
