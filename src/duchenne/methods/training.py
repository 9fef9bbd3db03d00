"""Train a model from a manifest of clips: descriptors (or a table of them), an LSTM-PB, both, or any method."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from duchenne import checkpoints, io, metrics, plots
from duchenne.checkpoints import reference
from duchenne.clips import crops, load
from duchenne.datasets import manifest as manifests
from duchenne.errors import DuchenneError, InputError, UsageError
from duchenne.features.descriptors import FAMILIES
from duchenne.learn import loop
from duchenne.learn.boosting import Recipe
from duchenne.methods import names, pairs
from duchenne.methods.hybrid import Hybrid
from duchenne.progress import Log
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Array, Classifier, Clip, readable

if TYPE_CHECKING:
    from duchenne.features.sequences import SequenceReader
    from duchenne.lstm_pb.model import PBModel
    from duchenne.lstm_pb.recipe import PBRecipe

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
    model = DescriptorModel.of_family(family, recipe=Recipe(seed=seed))
    moved: dict[Clip, reference.Moved] = {}
    used, rows = _read(manifest, lambda clip: model.reader.table([reference.noted(clip, load.read(clip), moved)]), log)
    labels, people, emotions = _truth(used)
    model.fit_table(rows, labels, people, emotions if any(emotions) else None)
    model.facts["smile_share"] = smile_share
    usable = readable(rows)
    protocol = f"person-disjoint {model.recipe.folds}-fold; member choice and calibration saw these folds"
    told = reference.movements([moved[clip] for clip in used], labels, people, emotions)
    assert model.out_of_fold is not None
    kept = model.out_of_fold[usable]
    return _finish(model, Path(out), kept, people[usable], labels[usable], emotions[usable], protocol, moved=told)


def train_hybrid(
    manifest: str | Path, out: str | Path, *, seed: int = 0, smile_share: float = 0.0, log: Log = print
) -> dict[str, Any]:
    """Train descriptors and an LSTM-PB of the shipped recipe, and how much each is to say, on the clips of a manifest.

    As `train` otherwise. The folder holds the two as folders of their own, which are models by themselves.
    """
    from duchenne.lstm_pb import recipe as recipes
    from duchenne.lstm_pb.model import PBModel

    recipe = recipes.read("lstm-pb", seed=seed)
    model = Hybrid(
        DescriptorModel.of_family(recipe=Recipe(seed=seed)), PBModel(recipe, tick=loop.teller(recipe.epochs, log))
    )
    moved: dict[Clip, reference.Moved] = {}
    used, both = _read(manifest, lambda clip: model.reader.table([reference.noted(clip, load.read(clip), moved)]), log)
    labels, people, emotions = _truth(used)
    model.fit_table(both, labels, people, emotions if any(emotions) else None)
    model.facts["smile_share"] = smile_share
    p = model.out_of_fold
    assert p is not None
    seen = np.isfinite(p)
    protocol = "person-disjoint: both members and their mix judged people that the members had not seen"
    told = reference.movements([moved[clip] for clip in used], labels, people, emotions)
    return _finish(model, Path(out), p[seen], people[seen], labels[seen], emotions[seen], protocol, moved=told)


def train_method(
    name: str,
    manifest: str | Path,
    out: str | Path,
    *,
    seed: int = 0,
    cache: str | Path | None = None,
    log: Log = print,
) -> dict[str, Any]:
    """Train any method of `methods.names` by its name ("two-stage:linear-svm", "stack:descriptors+rank-svm"), as
    `train` otherwise.

    `cache` is where followed faces are kept, and crops of them for methods that read pixels; by default `clip-cache`
    beside `out`. UsageError for names that nobody knows, and for finished models, which learn nothing.
    """
    if name.startswith(names.AS_IS):
        raise UsageError(f"{name} is a finished model, which learns nothing; name a method.")
    io.check_folder(out)
    out, model = Path(out).absolute(), names.make(name, seed)
    kept = Path(cache or out.parent / "clip-cache")

    def one(clip: Clip) -> Array:
        reader = model.reader.fed(lambda _, sample, each: crops.kept(clip, sample, each, kept / "crops"))
        return reader.table([load.kept(clip, kept / "tracks")])

    used, rows = _read(manifest, one, log)
    labels, people, emotions = _truth(used)
    if kept.is_dir():
        log(f"what was read of videos is kept in {kept}, faces of people among it; delete it when done")
    model.fit_table(rows, labels, people, emotions if any(emotions) else None)
    p, usable = model.out_of_fold, readable(rows)
    assert p is not None
    counts = {
        "people": len(np.unique(people[usable])),
        "clips": int(usable.sum()),
        "genuine": int(labels[usable].sum()),
    }
    model.facts = {**model.facts, **counts, "method": name}
    seen = np.isfinite(p)
    if not seen.any():
        raise InputError("No clip could be judged by a model that had not seen its person; add people.")
    protocol = "person-disjoint: each clip judged without its person; calibration and mixing saw these answers"
    finished = f"; {names.AS_IS} parts judged whomever they had learnt from" if names.AS_IS in name else ""
    shared = "; networks of another LSTM-PB than solved learnt from everybody" if "lstm-pb:" in name else ""
    return _finish(model, out, p[seen], people[seen], labels[seen], emotions[seen], protocol + finished + shared)


def _read(manifest: str | Path, one: Callable[[Clip], Array], log: Log) -> tuple[list[Clip], Array]:
    """(clips with a label that could be read, the table of one row that `one` reads of each); the others are named."""
    clips = [clip for clip in manifests.read(manifest) if clip.label]
    rows, used = [], []
    for i, clip in enumerate(clips):
        try:
            rows.append(one(clip))
            used.append(clip)
        except DuchenneError as error:
            log(f"left out: {error}")
        if (i + 1) % 100 == 0 or i + 1 == len(clips):
            log(f"{i + 1} of {len(clips)} clips read")
    if not used:
        raise InputError(f"{manifest} has no clip with a label that could be read; nothing to train on.")
    if len({row.shape[1:] for row in rows}) > 1:
        raise InputError(
            f"{manifest} names clips of different kinds, such as tracks and rows of tables; train them apart."
        )
    return used, np.concatenate(rows)


def _truth(clips: Sequence[Clip]) -> tuple[Array, Array, Array]:
    """(labels, 1 = genuine; people; emotions, "" where unknown), each (N,)."""
    labels = np.array([clip.label == "genuine" for clip in clips], int)
    return labels, np.array([clip.subject for clip in clips]), np.array([clip.emotion or "" for clip in clips])


def train_table(table: str | Path, out: str | Path, *, seed: int = 0, log: Log = print) -> dict[str, Any]:
    """Train on a CSV of smile descriptors: columns as in the public UvA-NEMO lip table, with `genuine` and
    `group` (or `subject`), which no two folds share. Returns the card."""

    try:
        data = io.read_table(Path(table))
    except (OSError, ValueError) as error:
        raise InputError(f"{table} cannot be read as a CSV table ({error}); expected smile descriptors.") from error
    who = next((name for name in ("subject", "group") if name in data), None)
    if who is None or "genuine" not in data:
        raise InputError(f"{table} needs a column genuine (1 or 0) and a column subject or group; add them.")
    if not data["genuine"].isin([0, 1]).all():
        raise InputError(f"{table} has something else than 1 or 0 in the column genuine; mend it.")
    model = names.smile_expert(seed)
    x = model.from_columns({name: data[name] for name in data.columns}, str(table))
    labels, people = data["genuine"].to_numpy(int), data[who].astype(str).to_numpy()
    log(f"{len(x)} rows of {len(np.unique(people))} {who}s")
    model.fit_table(x, labels, people)
    usable = np.isfinite(x).any(axis=1)
    protocol = f"group-disjoint {model.recipe.folds}-fold; member choice and calibration saw these folds"
    smiles = np.full(int(usable.sum()), "happiness")
    assert model.out_of_fold is not None
    kept, mine, whose = model.out_of_fold[usable], labels[usable], people[usable]
    return _finish(model, Path(out), kept, whose, mine, smiles, protocol, persons=who == "subject")


def _finish(
    model: Classifier,
    out: Path,
    p: Array,
    people: Array,
    labels: Array,
    emotions: Array,
    protocol: str,
    *,
    persons: bool = True,
    moved: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Save the model and a card with the scores of `p`, which are of people left out, how sure it may be of two
    clips of one person, unless `people` are groups of `persons`, and where the training people lie (`moved`: as
    `reference.movements` gives it)."""
    scores = metrics.score(p, labels, people, emotions, n=500)
    card = {
        **model.facts,
        "protocol": protocol,
        **{key: scores[key] for key in _ON_THE_CARD},
        "abstain_band": [round(0.5 - model.margin, 3), round(0.5 + model.margin, 3)],
    }
    with io.staged(out) as part:
        io.write_json(part / "card.json", card)
        checkpoints.save(model, part, name=out.name)
        pairs.keep(part, pairs.calibrated(p, labels, people, emotions) if persons else {})
        reference.keep(part, reference.answers(p, labels, people, emotions), moved)
    checkpoints.tidy(out)
    return card


def train_pb(
    manifest: str | Path,
    out: str | Path,
    recipe: PBRecipe | str | Path = "lstm-pb",
    *,
    resume: bool = True,
    log: Log = print,
) -> dict[str, Any]:
    """Train an LSTM-PB on the clips of a manifest CSV (as `train`) and write a model folder with its learning curve.

    `recipe` is one, or its name, or a TOML (`lstm_pb.recipe`). What is learnt is kept after every epoch in `.NAME.work`
    beside `out`: killed at any moment, the same call goes on and ends with the same model. `resume=False` throws an
    earlier beginning away. Returns the card. UsageError where the beginning is of other clips or settings,
    `learn.loop.Diverged` where a loss is no number: what is kept can be finished with fewer epochs.
    """
    from duchenne.lstm_pb import recipe as recipes
    from duchenne.lstm_pb.model import PBModel
    from duchenne.lstm_pb.recipe import PBRecipe

    out = Path(out)
    recipe = recipe if isinstance(recipe, PBRecipe) else recipes.read(recipe)
    work = out.parent / f".{out.name}.work"
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    model = PBModel(recipe, folder=work / "networks", tick=loop.teller(recipe.epochs, log))
    used, sequences = _read(manifest, lambda clip: _sequence(clip, model.reader, work / "clips"), log)
    labels, people, emotions = _truth(used)
    _same_training(work, recipe, sequences, [labels.tolist(), people.tolist(), emotions.tolist()])
    begun = sorted(work.glob("networks/*/curve.json"))
    if begun:
        log(f"going on with the training in {work}")
    try:
        model.fit_table(sequences, labels, people, emotions)
    except loop.Diverged as error:
        kept = [len(json.loads(p.read_text(encoding="utf-8"))["curve"]) for p in work.glob("networks/*/curve.json")]
        if not kept:
            raise
        raise loop.Diverged(f"{error} Or finish with what {work} keeps: repeat with epochs = {min(kept)}.") from error
    card = _pb_card(model, labels, people, emotions)
    with io.staged(out) as part:
        io.write_json(part / "card.json", card)
        io.write_json(part / "curve.json", model.curves)
        plots.save(plots.learning(model.curves), part / "curve")
        checkpoints.save(model, part, name=out.name)
        assert model.out_of_fold is not None
        pairs.keep(part, pairs.calibrated(model.out_of_fold, labels, people, emotions))
        reference.keep(part, reference.answers(model.out_of_fold, labels, people, emotions))
    checkpoints.tidy(out)
    shutil.rmtree(work, ignore_errors=True)
    return card


def _sequence(clip: Clip, reader: SequenceReader, cache: Path) -> Array:
    """object (1,) of what a network reads of a clip, kept in `cache` once it is read."""
    file = Path(manifests.split_path(clip.path)[0])
    stamp = (file.stat().st_mtime_ns, file.stat().st_size) if file.is_file() else None
    key = hashlib.sha256(repr((clip.path, clip.start, clip.end, stamp, asdict(reader))).encode()).hexdigest()
    kept = cache / f"{key}.npy"
    if kept.is_file():
        sequence = np.asarray(np.load(kept, allow_pickle=False))
    else:
        read = reader.table([load.read(clip)])[0]
        sequence = np.zeros((0, 80), np.float32) if read is None else read
        with io.atomic(kept) as part, part.open("wb") as handle:
            np.save(handle, sequence)
    out = np.empty(1, object)
    out[0] = sequence if len(sequence) else None
    return out


def _same_training(work: Path, recipe: PBRecipe, sequences: Array, truth: list[list[Any]]) -> None:
    """Note what is trained on what; UsageError where `work` holds the beginning of something else."""
    settings = {name: value for name, value in asdict(recipe).items() if name not in ("epochs", "stop")}
    data = hashlib.sha256(json.dumps(truth).encode())
    for sequence in sequences:
        data.update(b"-" if sequence is None else sequence.tobytes())
    about, path = io.plain({"recipe": settings, "clips": data.hexdigest()}), work / "training.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else about
    except ValueError:
        found = None
    if found != about:
        raise UsageError(
            f"{work} holds the beginning of a training of other clips or settings; repeat it as it was, or start anew "
            "with --fresh."
        )
    io.write_json(path, about)


def _pb_card(model: PBModel, labels: Array, people: Array, emotions: Array) -> dict[str, Any]:
    """Facts and scores on clips whose answer was found without their person, and what the networks had seen of them."""
    p, reading = model.out_of_fold, model.recipe.reading
    assert p is not None
    seen = np.isfinite(p)
    scores = metrics.score(p[seen], labels[seen], people[seen], emotions[seen], n=500)
    if reading == "solved":
        protocol = "person-disjoint, each person judged by the network that left them out"
    else:
        told = "with labels, which flatters" if reading == "published-code" else "without labels"
        protocol = f"person-disjoint 5-fold of the classifier on PB vectors; the networks learnt from everybody, {told}"
    return {
        **model.facts,
        "reading": reading,
        "protocol": protocol,
        **{key: scores[key] for key in _ON_THE_CARD},
        "abstain_band": [round(0.5 - model.margin, 3), round(0.5 + model.margin, 3)],
    }
