"""What a trainer leaves: a model folder with a card, a learning curve, and what was said of people left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from duchenne import checkpoints, io, metrics, plots
from duchenne.checkpoints import pairs, reference
from duchenne.training.data import Truth
from duchenne.types import Array, Json

_ON_THE_CARD = (
    *("accuracy", "accuracy_interval", "auc", "auc_interval", "ece"),
    *("forced_pairs", "per_emotion", "risk_coverage"),
)


def card_scores(p: Array, truth: Truth, margin: float) -> Json:
    """A card's scores: of P(genuine) (N,) of people left out, and their (labels, people, emotions), (N,) each."""
    labels, people, emotions = truth
    scores = metrics.score(p, labels, people, emotions, n=500)
    band = [round(0.5 - margin, 3), round(0.5 + margin, 3)]
    return {**{key: scores[key] for key in _ON_THE_CARD}, "abstain_band": band}


def save_out_of_fold(
    folder: Path, p: Array, truth: Truth, *, paired: bool | None = True, moved: Json | None = None
) -> None:
    """Beside a saved model: what was said of people left out, where the training people lie (`moved`: as
    `reference.movements` gives it), and how sure it may be of two clips: `paired` False where people are not persons,
    None for a model of which this is not asked."""
    labels, people, emotions = truth
    if paired is not None:
        pairs.save(folder, pairs.calibrated(p, labels, people, emotions) if paired else {})
    reference.save(folder, reference.answers(p, labels, people, emotions), moved)


def write(
    model: Any,
    out: str | Path,
    card: Json,
    *,
    curves: Any = None,
    figure: Any = None,
    more: Callable[[Path], object] = lambda _: None,
) -> Json:
    """Write model, card, learning `curves` and their `figure`, and what `more` adds, in one step; returns the card."""
    target = Path(out).absolute()
    with io.staged(target) as part:
        io.write_json(part / "card.json", card)
        if curves is not None:
            io.write_json(part / "curve.json", curves)
        if figure is not None:
            plots.save(figure, part / "curve")
        checkpoints.save(model, part, name=target.name)
        more(part)
    checkpoints.tidy(target)
    return card
