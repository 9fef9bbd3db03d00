"""The model folder that training writes: model, card, learning curve, and references from out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from duchenne import checkpoints, io, metrics, plots
from duchenne.checkpoints import pairs, reference
from duchenne.checkpoints.folder import Model
from duchenne.training.data import Truth
from duchenne.types import Array, Json

_ON_CARD = (
    "accuracy",
    "accuracy_interval",
    "auc",
    "auc_interval",
    "ece",
    "forced_pairs",
    "per_emotion",
    "risk_coverage",
)


def card_scores(p: Array, truth: Truth, margin: float) -> Json:
    """Scores for the card, from out-of-fold P(genuine) (N,) and (labels, people, emotions), (N,) each."""
    labels, people, emotions = truth
    scores = metrics.score(p, labels, people, emotions, n=500)
    band = [round(0.5 - margin, 3), round(0.5 + margin, 3)]
    return {**{key: scores[key] for key in _ON_CARD}, "abstain_band": band}


def save_out_of_fold(folder: Path, p: Array, truth: Truth, *, paired: bool | None = True) -> None:
    """Write `reference.json` and the pair scales of a saved model from out-of-fold P(genuine) (N,).

    paired  False where groups are not persons, None for a model without pair scales
    """
    labels, people, emotions = truth
    if paired is not None:
        pairs.save(folder, pairs.calibrated(p, labels, people, emotions) if paired else {})
    reference.save(folder, reference.answers(p, labels, people, emotions))


def curve_table(curves: Any) -> str:
    """Learning curves, network → rows of epochs or rows alone, as one CSV."""
    by_network = curves if isinstance(curves, Mapping) else {"": curves}
    rows = [{"network": name, **row} for name, found in by_network.items() for row in found]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return io.rows_csv([names, *([row.get(name) for name in names] for row in rows)])


def write(
    model: Model,
    out: str | Path,
    card: Json,
    *,
    curves: object = None,
    figure: Any = None,
    more: Callable[[Path], object] = lambda _: None,
) -> Json:
    """Write model, card, learning `curves` with `figure`, and what `more` adds, atomically; returns the card."""
    target = Path(out).absolute()
    with io.staged(target) as part:
        io.write_json(part / "card.json", card)
        if curves is not None:
            io.write_json(part / "curve.json", curves)
            io.write_text(part / "curve.csv", curve_table(curves))
        if figure is not None:
            plots.save(figure, part / "curve")
        checkpoints.save(model, part, name=target.name)
        more(part)
    checkpoints.tidy(target)
    return card
