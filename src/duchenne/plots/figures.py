"""What all figures share: width, palette, style, saving with the same bytes on every run.

Figures fit a phone's width and use the colour-blind safe palette of Okabe and Ito. They need no display, and the user's
matplotlib settings are neither used nor changed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from duchenne.io import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patheffects import AbstractPathEffect

#: A line style of matplotlib.
Dash = str | tuple[float, tuple[float, ...]]
BLUE, VERMILLION = "#0072B2", "#D55E00"
#: One colour per method, in this order; the eighth method begins again with dashes.
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Dash, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.2)))
MARKS = "osD^vPX"
INK, SOFT, FAINT, GREY = "#1b1f24", "#5b6470", "#e3e6ea", "#8b94a0"
WIDTH = 4.8  # inches of every figure: at a phone's 9 cm the smallest letters are 2 mm high
_RC: dict[str, object] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#b4bac2",
    "axes.grid": True,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 200,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "duchenne",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": SOFT,
    "xtick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.color": SOFT,
    "ytick.labelsize": 8.5,
    "ytick.major.size": 0,
}


_NO_DATE: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save(figure: Figure, path: str | Path, kinds: Sequence[str] = ("svg", "png")) -> tuple[Path, ...]:
    """Write `figure` as `<path>.svg` and `<path>.png`, or other kinds, atomically; OutputError where it cannot."""
    path = Path(path)
    files = tuple(path.with_name(f"{path.name}.{kind}") for kind in kinds)
    with style(), warnings.catch_warnings():
        # a script that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for file, kind in zip(files, kinds, strict=True):
            with atomic(file) as part:
                figure.savefig(part, format=kind, metadata=_NO_DATE[kind])
    return files


@contextmanager
def style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def new_figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), facecolor="white")


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the figure's top left corner."""
    total = figure.get_figheight()
    return figure.add_axes((left / WIDTH, 1 - (top + height) / total, width / WIDTH, height / total))


def at_inches(figure: Figure, x: float, y: float) -> tuple[float, float]:
    return x / WIDTH, 1 - y / figure.get_figheight()


def heading(figure: Figure, title: str, below: str) -> None:
    figure.text(*at_inches(figure, 0.2, 0.17), short(title, 46), size=12, weight="bold", va="top")
    figure.text(*at_inches(figure, 0.2, 0.42), below, size=8.5, color=SOFT, va="top")


def key(figure: Figure, left: float, top: float, text: str, colour: str, dash: Dash) -> None:
    """One line of a legend, at a place in inches."""
    from matplotlib.lines import Line2D

    x, y = at_inches(figure, left, top)
    figure.add_artist(Line2D([x, x + 0.22 / WIDTH], [y, y], color=colour, ls=dash, lw=2))
    figure.text(x + 0.3 / WIDTH, y, text, size=8.5, va="center")


def percent(value: float, _: float = 0) -> str:
    """A tick label of a share."""
    return f"{100 * value:.0f} %" if value else "0"


def look(i: int) -> tuple[str, Dash, str]:
    """(colour, dash, marker) of the i-th method."""
    return COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)], MARKS[i % len(MARKS)]


def halo() -> list[AbstractPathEffect]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.6, foreground="white")]


def short(name: object, most: int) -> str:
    """One printable line of at most `most` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(name)).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
