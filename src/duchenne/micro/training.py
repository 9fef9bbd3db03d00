"""Training a recogniser of micro-expressions, and its scores with leave-one-subject-out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import io, video
from duchenne.clips.cache import Cache, content
from duchenne.datasets.splits import leave_one_person_out
from duchenne.errors import DuchenneError, InputError
from duchenne.expression import reading
from duchenne.metrics.classes import score_classes
from duchenne.micro.data import Example, examples
from duchenne.micro.spotting import READER, SEEN, cropped, face, steady
from duchenne.progress import Log
from duchenne.training import folder as folders
from duchenne.training.work import work_folder
from duchenne.types import Array, Json

if TYPE_CHECKING:
    from duchenne.expression.model import ExpressionModel
    from duchenne.micro.recipe import MicroRecipe

    #: Training rows and a folder of their own → (the expression network, float32 (N, steps, width) of all clips).
    _Seeing = Callable[[Array, Path], tuple[ExpressionModel, Array]]

_PROTOCOL = (
    "leave-one-subject-out, predictions of all people pooled; no setting was chosen on them. The saved network is "
    "trained on all people"
)
_TUNED = (
    "; the expression network was tuned for {epochs} epochs with each of them, on frames of its training people alone"
)


def train(
    data: str | Path,
    out: str | Path,
    recipe: MicroRecipe | str | Path = "ours",
    *,
    features: str | Path = "expression",
    classes: str = "emotions",
    rate: float | None = None,
    device: str = "cpu",
    resume: bool = True,
    log: Log = print,
) -> Json:
    """Train on micro-expressions (`data` see `micro.data.examples`) and write a model folder.

    features  the expression network whose features are read; it is tuned to the training people, anew without each
              person who is left out, where the recipe says so
    recipe    one, or its name, or a TOML (`micro.recipe`)

    Each person in turn is left out and tested with a network trained on the others; the network trained on all people
    is written, with the card that is returned and `predictions.csv`, which `duchenne score` reads. Killed at any
    moment, the same call resumes (`.NAME.work` beside `out`); `resume=False` discards unfinished work. Clips that
    cannot be read are logged and left out. InputError for fewer than two people or classes, also once one person is
    left out; UsageError where unfinished work is of other clips or settings.
    """
    from duchenne.micro import learner
    from duchenne.micro.model import MicroModel
    from duchenne.micro.recipe import MicroRecipe

    recipe = MicroRecipe.read(recipe)
    network, about = reading.load(features, device)
    rows, unnamed = examples(data, classes, rate)
    _check(rows, str(data))
    with work_folder(out, log, resume=resume) as work:
        seeing, used = _seeing(rows, network, str(about["sha256"]), recipe, device, log)
        _check(used, f"What could be read of {data}")
        names = tuple(sorted({each.label for each in used}))
        labels = np.array([names.index(each.label) for each in used])
        p = _left_out(recipe, seeing, labels, names, [each.subject for each in used], work, log)
        network, movements = seeing(np.arange(len(used)), work / "tuned-all")
        final, curve = learner.train(recipe, movements, labels, names, folder=work / "all")
        card = _card(used, names, p, unnamed, len(rows) - len(used), about, recipe)
        facts = {key: card[key] for key in ("people", "clips", "counts", "seeing")}
        predictions = _predictions(used, names, p)
        return folders.write(
            MicroModel(final, network, recipe, facts),
            out,
            card,
            curves=curve,
            more=lambda part: io.write_text(part / "predictions.csv", predictions),
        )


def _check(rows: Sequence[Example], what: str) -> None:
    """InputError for too few people or classes, in all or without one person."""
    people, kinds = ({getattr(each, name) for each in rows} for name in ("subject", "label"))
    if len(kinds) < 2:
        found = f"only '{kinds.pop()}'" if kinds else "none"
        raise InputError(f"{what} has clips of {found}, expected two classes or more; add clips.")
    if len(people) < 2:
        raise InputError(
            f"{what} has clips of one person, {people.pop()}, expected two or more; add clips of other people."
        )
    for who in sorted(people):
        if len(left := {each.label for each in rows if each.subject != who}) < 2:
            raise InputError(f"{what} has only '{left.pop()}' without person {who}; add clips of other people.")


def _seeing(
    rows: Sequence[Example], network: ExpressionModel, sha: str, recipe: MicroRecipe, device: str, log: Log
) -> tuple[_Seeing, list[Example]]:
    """(what gives the network and the movements for training rows, what could be read)."""
    if not recipe.tune_epochs:
        used, found = _read(rows, lambda row, cache: _movement(row, network, sha, recipe.frames, cache), log)
        movements = np.stack(found)
        return lambda _rows, _folder: (network, movements), used
    from duchenne.micro import tuning

    used, clips = _read(rows, tuning.filmed, log)

    def seeing(some: Array, folder: Path) -> tuple[ExpressionModel, Array]:
        labels = [used[i].label for i in some.tolist()]
        its = tuning.tuned(network, [clips[i] for i in some.tolist()], labels, recipe, folder, device)
        return its, np.stack([clip.movement(its, recipe.frames) for clip in clips])

    return seeing, used


def _read(rows: Sequence[Example], read: Callable[[Example, Cache], Any], log: Log) -> tuple[list[Example], list[Any]]:
    """(the rows that could be read, what `read` makes of each)."""
    used, found, cache = [], [], Cache()
    for i, row in enumerate(rows):
        try:
            found.append(read(row, cache))
            used.append(row)
        except DuchenneError as error:
            log(f"left out: {error}")
        if (i + 1) % 20 == 0 or i + 1 == len(rows):
            log(f"{i + 1} of {len(rows)} clips read")
    if not used:
        raise InputError("None of the clips could be read; check the paths.")
    return used, found


def _movement(row: Example, network: ExpressionModel, sha: str, steps: int, cache: Cache) -> Array:
    """float32 (steps, width) of one micro-expression, from its onset to its offset."""
    from duchenne.micro.model import movement

    stretch: Json = {"rate": row.rate, "start": row.start, "end": row.end}

    def read() -> dict[str, Array]:
        track, _ = face(cache.read_faces(row.path, reader=READER, most=np.inf, **stretch), row.path, **stretch)
        if (share := float(track.seen.mean())) < SEEN or track.seen.sum() < 2:
            raise InputError(f"{row.path} shows the face in only {100 * share:.0f} % of {len(track)} frames.")
        time, crops = cropped(steady(track), video.frames(row.path, **stretch))
        return {"movement": movement(time, network.features(crops), steps)}

    path = Path(row.path)
    if not path.exists():
        return read()["movement"]  # raises the error
    return cache.arrays(["movement", content(path), path.suffix.lower(), stretch, sha, steps], read)["movement"]


def _left_out(
    recipe: MicroRecipe,
    seeing: _Seeing,
    labels: Array,
    names: tuple[str, ...],
    people: list[str],
    work: Path,
    log: Log,
) -> Array:
    """float64 (N, classes): predictions of networks trained without the person of the clip."""
    from duchenne.micro import learner
    from duchenne.micro.model import predict

    p = np.full((len(labels), len(names)), np.nan)
    splits = list(leave_one_person_out(people))
    for i, (rows, tested) in enumerate(splits):
        _, movements = seeing(rows, work / f"tuned-without-{i}")
        network, _ = learner.train(recipe, movements[rows], labels[rows], names, folder=work / f"without-{i}")
        p[tested] = predict(network, movements[tested])
        right = int((p[tested].argmax(axis=1) == labels[tested]).sum())
        log(f"person {i + 1} of {len(splits)}, {people[tested[0]]}: {right} of {len(tested)} right")
    return p


def _card(
    used: Sequence[Example],
    names: tuple[str, ...],
    p: Array,
    unnamed: int,
    unread: int,
    about: Json,
    recipe: MicroRecipe,
) -> Json:
    """Training data and leave-one-subject-out scores, with 95 % intervals over people."""
    truth, people = [each.label for each in used], [each.subject for each in used]
    predicted = [names[i] for i in p.argmax(axis=1)]
    scores = score_classes(predicted, truth, people, classes=names)
    right = Counter(who for who, a, b in zip(people, predicted, truth, strict=True) if a == b)
    return {
        "people": len(set(people)),
        "clips": len(used),
        "counts": dict(sorted(Counter(truth).items())),
        "left_out": {"without_a_class": unnamed, "unreadable": unread},
        "seeing": {"id": about["id"], "sha256": about["sha256"], "tune_epochs": recipe.tune_epochs},
        "protocol": _PROTOCOL + (_TUNED.format(epochs=recipe.tune_epochs) if recipe.tune_epochs else ""),
        **{key: value for key, value in scores.items() if key not in ("rows", "unanswered")},
        "per_person": {who: {"clips": n, "right": right[who]} for who, n in sorted(Counter(people).items())},
    }


def _predictions(used: Sequence[Example], names: tuple[str, ...], p: Array) -> str:
    """A row per clip, as `duchenne score` reads it."""
    table: list[list[object]] = [["video", "start", "subject", "label", "predicted", *(f"p_{name}" for name in names)]]
    for row, each in zip(used, p, strict=True):
        start = "" if row.start is None else row.start
        predicted = names[int(each.argmax())]
        table.append([row.path, start, row.subject, row.label, predicted, *(f"{value:.4f}" for value in each)])
    return io.rows_csv(table)
