"""What all pages share: templates that escape every string, and a policy that lets a page run and load its own only."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

import jinja2

from duchenne.plots.text import clamp, measured, number, percent, plain, words
from duchenne.report.drawing import MAIN_CURVES


@cache
def environment() -> jinja2.Environment:
    """Templates of this package, with numbers and words as `drawing` writes them."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("duchenne", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(number=number, measured=measured, percent=percent, words=words, plain=plain)
    env.globals.update(clamp=clamp, hints=MAIN_CURVES)
    return env


def part(name: str) -> str:
    """The text of a style or script that goes into a page."""
    return (files("duchenne") / "report" / "templates" / name).read_text(encoding="utf-8")


def policy(css: str, script: str, media: str = "img-src data:; media-src data: blob:") -> str:
    """Nothing but what the page holds (or `media` names), and of scripts and styles only these two, by their hashes."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, script))
    style, code = (f"'sha256-{each}'" for each in hashes)
    return f"default-src 'none'; {media}; style-src {style}; script-src {code}; base-uri 'none'; form-action 'none'"


def file_name(n: int, what: str = "report") -> str:
    """What the page, or another file, of the n-th face of a clip is named, without its extension."""
    return what if n == 0 else f"{what}-face{n}"
