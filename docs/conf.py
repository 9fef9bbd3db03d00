"""Sphinx settings: `pip install -e ".[docs]" && python -m sphinx -W -b html docs build/html`. Needs no network."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import duchenne  # noqa: E402

project, author, copyright = "duchenne", "The duchenne developers", "The duchenne developers"
version = release = duchenne.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
default_role = "literal"  # docstrings mark code with single backticks
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints_format = "short"
autodoc_type_aliases = {"Array": "Array", "ArrayLike": "ArrayLike"}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
html_theme = "furo"
html_title = f"duchenne {release}"
html_static_path = ["_static"]
html_css_files = ["duchenne.css"]
html_show_sphinx = html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5f8b", "color-brand-content": "#1f5f8b"},
    "dark_css_variables": {"color-brand-primary": "#7fc1ea", "color-brand-content": "#7fc1ea"},
}

PAGES = "gallery"  # folder of rendered figures, below docs/ and below the built pages


def docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Plain docstrings as reStructuredText: columns and indented lines stay as written, special characters are
    escaped."""
    blocks = "\n".join(lines).strip("\n").split("\n\n")
    lines[:] = "\n\n".join(_block(block) for block in blocks).splitlines()


def _block(block: str) -> str:
    rows = block.split("\n")
    if rows[0].lstrip().startswith(">>>"):
        return block
    columns = [re.match(r"(\S.*?) {2,}(\S.*)", row) for row in rows]
    if not any(columns) and not any(row[:1] == " " for row in rows):
        return _plain(block)
    if columns[0] and all(match or row[:1] == " " for match, row in zip(columns, rows, strict=True)):
        pairs = zip(columns, rows, strict=True)
        return "\n".join(f"``{m[1]}``\n    {_plain(m[2])}" if m else f"    {_plain(row.strip())}" for m, row in pairs)
    return ".. code-block:: text\n\n" + "\n".join(f"    {row}" for row in rows)


def _plain(text: str) -> str:
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(p if i % 2 else re.sub(r"([\\*|_])", r"\\\1", p) for i, p in enumerate(pieces))


def signature(app: Any, what: str, name: str, thing: Any, options: Any, args: str | None, back: str | None) -> Any:
    """Names of types without their modules, also inside of other types."""

    def short(text: str | None) -> str | None:
        return text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", re.sub(r"~(\w+\.)+", "", text))

    return short(args), short(back)


def render(app: Any) -> None:
    """Render the gallery if the source has changed since, or write a page that says why there is none."""
    import make_gallery

    folder, root = HERE / PAGES, HERE.parent
    index = folder / "index.md"
    sources = [HERE / "make_gallery.py", *root.glob("examples/*"), *root.glob("src/duchenne/**/*.py")]
    current = any(folder.glob("*.png")) and index.stat().st_mtime > max(path.stat().st_mtime for path in sources)
    if app.config.render_gallery and not current:
        make_gallery.make(folder)
        return
    folder.mkdir(exist_ok=True)
    if not index.exists():
        index.write_text("# Gallery\n\nThis build does not render it (render_gallery=0).\n", encoding="utf-8")
    if not (folder / "tour.md").exists():
        make_gallery.notebook(folder, run=False)


def copy_pages(app: Any, error: Exception | None) -> None:
    """Copy the reports that the gallery links to."""
    for page in sorted((HERE / PAGES).glob("*.html")) if error is None and app.builder.format == "html" else ():
        shutil.copy(page, Path(app.outdir) / PAGES / page.name)


def setup(app: Any) -> None:
    app.add_config_value("render_gallery", True, "env", bool)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    app.connect("builder-inited", render)
    app.connect("build-finished", copy_pages)
