"""Shared by all reports: templates that escape every string, and a content security policy."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

import jinja2

from duchenne import limits
from duchenne.plots.text import clamp, measured, number, percent, plain, words
from duchenne.report.drawing import MAIN_CURVES, UNITS


@cache
def _environment() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("duchenne", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(number=number, measured=measured, percent=percent, words=words, plain=plain)
    env.globals.update(clamp=clamp, hints={**MAIN_CURVES, **UNITS}, limits=limits)
    return env


def render(template: str, **values: object) -> str:
    """The template filled with values, every string escaped."""
    return _environment().get_template(template).render(values)


def asset(name: str) -> str:
    """The text of a style sheet or script."""
    return (files("duchenne") / "report" / "templates" / name).read_text(encoding="utf-8")


def policy(css: str, script: str, media: str = "img-src data:; media-src data: blob:") -> str:
    """A policy that allows this style sheet and this script, by their hashes, and `media`; nothing else."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, script))
    style, code = (f"'sha256-{each}'" for each in hashes)
    return f"default-src 'none'; {media}; style-src {style}; script-src {code}; base-uri 'none'; form-action 'none'"


def file_name(n: int, what: str = "report") -> str:
    """Name of a file of the n-th face of a clip, without its extension."""
    return what if n == 0 else f"{what}-face{n}"
