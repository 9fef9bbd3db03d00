"""Train a descriptor model from a manifest of clips, or from a table of descriptors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import io, video
from duchenne.datasets import manifest as manifests
from duchenne.errors import DuchenneError, InputError, UsageError
from duchenne.evaluate import metrics
from duchenne.faces import follow, protagonist
from duchenne.features import smile
from duchenne.features.descriptors import FAMILIES
from duchenne.learn import checkpoint
from duchenne.learn.classifiers import DescriptorModel
from duchenne.learn.tabular import Recipe
from duchenne.types import Array, Clip, FaceTrack

Log = Callable[[str], None]
_ON_THE_CARD = (
    *("accuracy", "accuracy_interval", "auc", "auc_interval", "ece"),
    *("forced_pairs", "per_emotion", "risk_coverage"),
)


def train(
    manifest: str | Path,
    out: str | Path,
    *,
    family: str = "dynamics",
    seed: int = 0,
    smile_share: float = 0.0,
    log: Log = print,
) -> dict[str, Any]:
    """Train on the clips of a manifest CSV (path, subject, emotion, label) and write a model folder.

    `smile_share` (0 to 1) is the weight that the shipped smile expert gets in the log-odds of a smile.
    A path may be a video, or `tracks.npz#3` / `tracks.npz#name` for one track of a packed file. Returns the
    card. Clips that cannot be read are named and left out; InputError when too little is left to train on.
    """
    if family not in FAMILIES:
        raise UsageError(f"There is no descriptor family '{family}'; choose one of: {', '.join(FAMILIES)}.")
    clips = [clip for clip in manifests.read(manifest) if clip.label]
    model = DescriptorModel.of_family(family, recipe=Recipe(seed=seed))
    rows, used = [], []
    for i, clip in enumerate(clips):
        try:
            rows.append(model.table([read_track(clip)])[0])
            used.append(clip)
        except DuchenneError as error:
            log(f"left out: {error}")
        if (i + 1) % 100 == 0 or i + 1 == len(clips):
            log(f"{i + 1} of {len(clips)} clips read")
    if not used:
        raise InputError(f"{manifest} has no clip with a label that could be read; nothing to train on.")
    labels = np.array([clip.label == "genuine" for clip in used], int)
    people = np.array([clip.subject for clip in used])
    emotions = np.array([clip.emotion or "" for clip in used])
    model.fit_table(np.array(rows), labels, people, emotions if any(emotions) else None)
    model.facts["smile_share"] = smile_share
    return _finish(model, Path(out), people, labels, emotions, np.array(rows))


def train_table(table: str | Path, out: str | Path, *, seed: int = 0, log: Log = print) -> dict[str, Any]:
    """Train on a CSV of smile descriptors: columns as in the public UvA-NEMO lip table, with `genuine` and
    `group` (or `subject`), which no two folds share. Returns the card."""
    import pandas as pd

    try:
        data = pd.read_csv(table)
    except (OSError, ValueError) as error:
        raise InputError(f"{table} cannot be read as a CSV table ({error}); expected smile descriptors.") from error
    who = next((name for name in ("subject", "group") if name in data), None)
    if who is None or "genuine" not in data:
        raise InputError(f"{table} needs a column genuine (1 or 0) and a column subject or group; add them.")
    if not data["genuine"].isin([0, 1]).all():
        raise InputError(f"{table} has something else than 1 or 0 in the column genuine; mend it.")
    model = DescriptorModel(smile.EXPERT, family="smile", fps=smile.TABLE_FPS, recipe=smile_recipe(seed))
    x = model.from_columns({name: data[name] for name in data.columns}, str(table))
    labels, people = data["genuine"].to_numpy(int), data[who].astype(str).to_numpy()
    log(f"{len(x)} rows of {len(np.unique(people))} {who}s")
    model.fit_table(x, labels, people)
    return _finish(model, Path(out), people, labels, np.full(len(x), "happiness"), x)


def smile_recipe(seed: int = 0) -> Recipe:
    """Settings for about 60 descriptors of about a thousand smiles (experiments/uva_nemo.py)."""
    return Recipe(
        rounds=300, depth=4, rate=0.03, rows=0.6, columns=0.3, shrink=3.0, child=3.0, bins=256, penalty=0.3, seed=seed
    )


def read_track(clip: Clip) -> FaceTrack:
    """The protagonist's track of a clip: from its video, or from a packed file of tracks."""
    file, which = manifests.split_path(clip.path)
    if which is None:
        followed = follow(video.frames(clip.path, start=clip.start, end=clip.end), source=clip.path)
        track = protagonist(followed.tracks)
        if track is None:
            raise InputError(f"{clip.path} shows no face in {len(followed.time)} frames.")
        return track
    tracks = _packed(file)
    if which.isdigit() and int(which) < len(tracks) and which not in {t.source for t in tracks}:
        return tracks[int(which)]
    for track in tracks:
        if track.source == which:
            return track
    raise InputError(f"{file} has no track '{which}': it holds {len(tracks)}, named like '{tracks[0].source}'.")


@cache
def _packed(file: str) -> Sequence[FaceTrack]:
    return io.load_tracks(file)


def _finish(
    model: DescriptorModel, out: Path, people: Array, labels: Array, emotions: Array, x: Array
) -> dict[str, Any]:
    """Save the model and a card with its scores on people left out of the inner folds."""
    usable = np.isfinite(x).any(axis=1)
    p = model.fitted.out_of_fold
    assert p is not None
    scores = metrics.score(p, labels[usable], people[usable], emotions[usable], n=500)
    card = {
        **model.facts,
        "protocol": f"person-disjoint {model.recipe.folds}-fold; member choice and calibration saw these folds",
        **{key: scores[key] for key in _ON_THE_CARD},
        "abstain_band": [round(0.5 - model.margin, 3), round(0.5 + model.margin, 3)],
    }
    with io.staged(out) as part:
        io.write_json(part / "card.json", card)
        checkpoint.save(model, part, name=out.name)
    return card
