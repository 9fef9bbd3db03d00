"""Learning to tell micro-expressions apart, and how well it is done on people who were left out, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duchenne import io, video
from duchenne.clips.cache import Cache, content
from duchenne.datasets.splits import leave_one_person_out
from duchenne.errors import DuchenneError, InputError
from duchenne.expression import reading
from duchenne.metrics.classes import score_classes
from duchenne.micro.data import Example, examples
from duchenne.micro.spotting import cropped, face, steady
from duchenne.progress import Log
from duchenne.training import folder as folders
from duchenne.training.work import work_folder
from duchenne.types import Array, Json

if TYPE_CHECKING:
    from duchenne.expression.model import ExpressionModel
    from duchenne.micro.network import MicroLSTM
    from duchenne.micro.recipe import MicroRecipe

_SEEN = 0.8  # share of a movement's frames in which the face must be seen
_PROTOCOL = (
    "leave-one-subject-out, answers of all people pooled; no setting was chosen on them. The shipped network then "
    "learnt from everybody"
)


def train(
    data: str | Path,
    out: str | Path,
    recipe: MicroRecipe | str | Path = "ours",
    *,
    seeing: str | Path = "expression",
    classes: str = "emotions",
    rate: float | None = None,
    device: str = "cpu",
    resume: bool = True,
    log: Log = print,
) -> Json:
    """Learn from the micro-expressions of a corpus' folder or a manifest (`corpora.examples`) and write a model folder.

    seeing   the expression network whose features are read; it stays as it is
    recipe   one, or its name, or a TOML (`micro.recipe`)

    Each person in turn is left out and judged by a network that learnt from the others; then one learns from all, and
    is what is written, with the card that is returned and `predictions.csv`, which `duchenne score` reads. Killed at
    any moment, the same call goes on (`.NAME.work` beside `out`); `resume=False` throws an earlier beginning away.
    Clips that cannot be read are named and left out. InputError for fewer than two people or classes, also once one
    person is left out; UsageError where the beginning is of other clips or settings.
    """
    from duchenne.micro.model import MicroModel
    from duchenne.micro.recipe import MicroRecipe

    recipe = recipe if isinstance(recipe, MicroRecipe) else MicroRecipe.read(recipe)
    network, about = reading.load(seeing, device)
    rows, unnamed = examples(data, classes, rate)
    _enough(rows, str(data))
    with work_folder(out, log, resume=resume) as work:
        used, movements = _read(rows, network, str(about["sha256"]), recipe.frames, log)
        _enough(used, f"What could be read of {data}")
        names = tuple(sorted({each.label for each in used}))
        labels = np.array([names.index(each.label) for each in used])
        p = _left_out(recipe, movements, labels, names, [each.subject for each in used], work, log)
        learnt, curve = _one(recipe, movements, labels, names, work / "all")
        card = _card(used, names, p, unnamed, len(rows) - len(used), about)
        facts = {key: card[key] for key in ("people", "clips", "counts", "seeing")}
        said = _predictions(used, names, p)
        return folders.write(
            MicroModel(learnt, network, recipe, facts),
            out,
            card,
            curves=curve,
            more=lambda part: io.write_text(part / "predictions.csv", said),
        )


def _enough(rows: Sequence[Example], what: str) -> None:
    """InputError where there are too few people or classes to learn from, all together or without one person."""
    people, kinds = ({getattr(each, name) for each in rows} for name in ("subject", "label"))
    if len(kinds) < 2:
        found = f"only '{kinds.pop()}'" if kinds else "none"
        raise InputError(f"{what} has clips of {found}; telling micro-expressions apart needs two classes or more.")
    if len(people) < 2:
        raise InputError(
            f"{what} has clips of one person, {people.pop()}; leaving each person out in turn needs two or more."
        )
    for who in sorted(people):
        if len(left := {each.label for each in rows if each.subject != who}) < 2:
            raise InputError(
                f"{what}: without person {who} only '{left.pop()}' is left to learn from; add clips of other people."
            )


def _read(
    rows: Sequence[Example], network: ExpressionModel, sha: str, steps: int, log: Log
) -> tuple[list[Example], Array]:
    """(what could be read, float32 (N, steps, width)), from the cache where it was read before."""
    used, found, cache = [], [], Cache()
    for i, row in enumerate(rows):
        try:
            found.append(_movement(row, network, sha, steps, cache))
            used.append(row)
        except DuchenneError as error:
            log(f"left out: {error}")
        if (i + 1) % 20 == 0 or i + 1 == len(rows):
            log(f"{i + 1} of {len(rows)} clips read")
    if not used:
        raise InputError("None of the clips could be read; nothing to learn from.")
    return used, np.stack(found)


def _movement(row: Example, network: ExpressionModel, sha: str, steps: int, cache: Cache) -> Array:
    """float32 (steps, width) of one micro-expression, from its onset to its offset."""
    from duchenne.micro.model import movement

    stretch: Json = {"rate": row.rate, "start": row.start, "end": row.end}

    def read() -> dict[str, Array]:
        track = face(cache.read_faces(row.path, **stretch), row.path)
        if (share := float(track.seen.mean())) < _SEEN or track.seen.sum() < 2:
            raise InputError(f"{row.path} shows the face in {100 * share:.0f} % of {len(track)} frames only.")
        time, crops = cropped(steady(track), video.frames(row.path, **stretch))
        return {"movement": movement(time, network.features(crops), steps)}

    path = Path(row.path)
    if not path.exists():
        return read()["movement"]  # which says so
    return cache.arrays(["movement", content(path), path.suffix.lower(), stretch, sha, steps], read)["movement"]


def _one(
    recipe: MicroRecipe, movements: Array, labels: Array, names: tuple[str, ...], folder: Path
) -> tuple[MicroLSTM, list[Json]]:
    from duchenne.micro.learner import train as learn

    return learn(recipe, movements, labels, names, folder=folder)


def _left_out(
    recipe: MicroRecipe,
    movements: Array,
    labels: Array,
    names: tuple[str, ...],
    people: list[str],
    work: Path,
    log: Log,
) -> Array:
    """float64 (N, classes): of each clip what a network said that learnt from all people but the one it shows."""
    from duchenne.micro.model import answers

    p = np.full((len(labels), len(names)), np.nan)
    splits = list(leave_one_person_out(people))
    for i, (learnt, tested) in enumerate(splits):
        network, _ = _one(recipe, movements[learnt], labels[learnt], names, work / f"without-{i}")
        p[tested] = answers(network, movements[tested])
        right = int((p[tested].argmax(axis=1) == labels[tested]).sum())
        log(f"person {i + 1} of {len(splits)}, {people[tested[0]]}: {right} of {len(tested)} right")
    return p


def _card(used: Sequence[Example], names: tuple[str, ...], p: Array, unnamed: int, unread: int, about: Json) -> Json:
    """What was learnt from and how well people who were left out are told, with 95 % intervals over people."""
    truth, people = [each.label for each in used], [each.subject for each in used]
    said = [names[i] for i in p.argmax(axis=1)]
    scores = score_classes(said, truth, people, classes=names)
    right = Counter(who for who, a, b in zip(people, said, truth, strict=True) if a == b)
    return {
        "people": len(set(people)),
        "clips": len(used),
        "counts": dict(sorted(Counter(truth).items())),
        "left_out": {"without_a_class": unnamed, "unreadable": unread},
        "seeing": {"id": about["id"], "sha256": about["sha256"]},
        "protocol": _PROTOCOL,
        **{key: value for key, value in scores.items() if key not in ("rows", "unanswered")},
        "per_person": {who: {"clips": n, "right": right[who]} for who, n in sorted(Counter(people).items())},
    }


def _predictions(used: Sequence[Example], names: tuple[str, ...], p: Array) -> str:
    """A row per clip, as `duchenne score` reads it."""
    table: list[list[object]] = [["video", "start", "subject", "label", "predicted", *(f"p_{name}" for name in names)]]
    for row, each in zip(used, p, strict=True):
        start = "" if row.start is None else row.start
        said = names[int(each.argmax())]
        table.append([row.path, start, row.subject, row.label, said, *(f"{value:.4f}" for value in each)])
    return io.rows_csv(table)
