"""The plan of an evaluation: checked clips of one or more manifests, and the splits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from duchenne.datasets import manifest, splits
from duchenne.datasets.splits import Split
from duchenne.errors import InputError, UsageError, meant
from duchenne.registry import READERS, check_reader
from duchenne.types import Array, Clip, Json

PROTOCOLS = {
    "kfold": "person-disjoint {folds}-fold cross-validation",
    "loso": "leave one person out",
    "fixed": "the folds of the manifest",
    "cross": "trained on one data set, tested on another",
}


@dataclass(frozen=True)
class Plan:
    """Everything that decides a result; a results file holds it.

    manifests  one CSV per data set (for protocol "cross" two or more, or one whose column fold names the data sets)
    models     names for `methods.names.make`, compared on the same folds; the first is the main one
    repeats    assignments of people to folds; scores are their means
    draws      resamples of people for each interval
    reader     of the faces in videos: mesh or paper
    device     for the methods that can use one: auto, cpu, cuda or mps
    """

    manifests: tuple[str, ...]
    models: tuple[str, ...] = ("default",)
    protocol: str = "kfold"
    folds: int = 10
    repeats: int = 1
    seed: int = 0
    baselines: bool = True
    draws: int = 1000
    title: str = "Evaluation"
    notes: tuple[str, ...] = ()
    published: tuple[Json, ...] = ()
    human: Json | None = None
    reader: str = READERS[0]
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            close = meant(self.protocol, PROTOCOLS)
            raise UsageError(f"There is no protocol '{self.protocol}'{close}; choose one of: {', '.join(PROTOCOLS)}.")
        for name, value, least in (("folds", self.folds, 2), ("repeats", self.repeats, 1), ("draws", self.draws, 1)):
            if value < least:
                raise UsageError(f"Expected at least {least} {name}, found {value}; choose more.")
        check_reader(self.reader)
        if not self.models:
            raise UsageError("No model was given; name at least one, for example default.")
        if len(set(self.models)) < len(self.models):
            raise UsageError("A model is repeated; name each once.")

    @property
    def words(self) -> str:
        """The protocol in a sentence."""
        text = PROTOCOLS[self.protocol].format(folds=self.folds)
        many = f", mean over {self.repeats} assignments of people to folds" if self.repeats > 1 else ""
        return f"{text}{many}; model selection and calibration use only the training people of each fold"


@dataclass(frozen=True)
class PlannedClips:
    """The clips of a plan, in order, with the line of the manifest each came from and the data set it belongs to."""

    clips: tuple[Clip, ...]
    where: tuple[str, ...]
    data_set: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)


def gather(plan: Plan, *, skip_missing: bool = False) -> PlannedClips:
    """Read and check the manifests before any work; InputError with file and line.

    Errors: no person, an unknown word, a repeated row, a missing file (`skip_missing` leaves the clip out with a
    note), no labels, and for protocol "fixed" a person in two folds or a fold with one label.
    """
    used: list[tuple[Clip, str, str, str]] = []
    notes: list[str] = []
    stems = _data_set_names(plan.manifests)
    for file, stem in zip(plan.manifests, stems, strict=True):
        rows = manifest.read_rows(file)
        absent = dict(manifest.missing(rows))
        if absent and not skip_missing:
            line, path = next(iter(absent.items()))
            more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
            raise InputError(
                f"{file}, line {line}, names the missing file {path}{more}; correct the path, or leave such clips out "
                "with --skip-missing."
            )
        notes += [f"Left out: {file}, line {line}: {path} does not exist." for line, path in absent.items()]
        unlabelled = sum(clip.label is None for line, clip in rows if line not in absent)
        if unlabelled:
            notes.append(f"Left out: {unlabelled} clips of {file} without a label.")
        base = _base([clip for _, clip in rows], Path(file).parent)
        for line, clip in rows:
            if line in absent or clip.label is None:
                continue
            person = f"{stem}/{clip.subject}" if len(stems) > 1 else clip.subject
            data_set = stem if len(stems) > 1 else clip.fold or ""
            name = _name(clip, Path(file).parent, base)
            used.append((replace(clip, subject=person, reader=plan.reader), f"{file}, line {line}", data_set, name))
    if len({clip.label for clip, *_ in used}) < 2:
        found = f"{used[0][0].label} only" if used else "no label"
        raise InputError(f"{', '.join(plan.manifests)}: expected genuine and posed clips, found {found}; add labels.")
    clips, where, data_sets, names = zip(*used, strict=True)
    gathered = PlannedClips(clips, where, data_sets, names, tuple(notes))
    if plan.protocol == "cross" and "" in data_sets:
        raise InputError(
            f"{where[data_sets.index('')]}, has no fold; protocol cross needs a manifest per data set, "
            "or one whose column fold names the data set of every clip."
        )
    if plan.protocol == "fixed":
        _check_folds(gathered)
    return gathered


def _data_set_names(files: Sequence[str]) -> list[str]:
    stems = [Path(file).stem for file in files]
    if len(set(stems)) < len(stems):
        raise UsageError("Two manifests have the same name; a data set is named after its file, so rename one.")
    return stems


def _base(clips: Sequence[Clip], folder: Path) -> Path:
    """The common folder of clips outside the manifest's folder."""
    away = [Path(clip.path).absolute().parent for clip in clips if not Path(clip.path).is_relative_to(folder)]
    return Path(os.path.commonpath(away)) if away else folder


def _name(clip: Clip, folder: Path, base: Path) -> str:
    """A clip's name in predictions: its path below the manifest's `folder` or below `base`, and its stretch. Results
    are shared, so they must not name folders of this machine."""
    path = Path(clip.path)
    text = path.relative_to(folder if path.is_relative_to(folder) else base).as_posix()
    if clip.start is None and clip.end is None:
        return text
    return f"{text}@{clip.start or 0:g}-{'' if clip.end is None else f'{clip.end:g}'}"


def _check_folds(planned: PlannedClips) -> None:
    """InputError, with the line, unless each person is in one fold and each fold has both labels."""
    first: dict[str, tuple[str, str]] = {}
    for clip, where in zip(planned.clips, planned.where, strict=True):
        if clip.fold is None:
            raise InputError(f"{where}, has no fold; protocol fixed needs one for every clip.")
        fold, line = first.setdefault(str(clip.subject), (clip.fold, where))
        if fold != clip.fold:
            raise InputError(
                f"{where}, puts person '{clip.subject}' into fold '{clip.fold}', but {line} into '{fold}'; keep each "
                "person in one fold, otherwise the score measures recognition."
            )
    for fold in sorted({str(clip.fold) for clip in planned.clips}):
        rows = [i for i, clip in enumerate(planned.clips) if clip.fold == fold]
        labels = {planned.clips[i].label for i in rows}
        if len(labels) < 2:
            raise InputError(
                f"{planned.where[rows[0]]}: fold '{fold}' holds {labels.pop()} clips only; add the other label."
            )


def runs(plan: Plan, planned: PlannedClips) -> Iterator[tuple[str, int, list[Split]]]:
    """(name, repeat, splits) of every separately scored run: one per repeat, and per pair of data sets."""
    persons = [clip.subject for clip in planned.clips]
    for repeat in range(plan.repeats):
        if plan.protocol == "cross":
            for trained, tested, train, test in splits.cross(planned.data_set, persons):
                _check_training(train, planned, f"Data set '{trained}' has")
                yield f"{trained} → {tested}", repeat, [(train, test)]
            continue
        make: dict[str, Callable[[], Iterator[Split]]] = {
            "kfold": partial(splits.by_person, persons, plan.folds, plan.seed + repeat),
            "loso": lambda: splits.leave_one_person_out(persons),
            "fixed": lambda: splits.fixed([clip.fold for clip in planned.clips], persons),
        }
        found = list(make[plan.protocol]())
        for number, (train, _) in enumerate(found, 1):
            _check_training(train, planned, f"To test fold {number} of {len(found)}, protocol {plan.protocol} leaves")
        yield "", repeat, found


def _check_training(train: Array, planned: PlannedClips, who: str) -> None:
    clips = [planned.clips[i] for i in train.tolist()]
    labels, people = {str(clip.label) for clip in clips}, {clip.subject for clip in clips}
    if len(labels) < 2 or len(people) < 2:
        found = f"{' and '.join(sorted(labels))} clips of {len(people)} {'people' if len(people) > 1 else 'person'}"
        raise UsageError(
            f"{who} only {found} to train on, but methods need both labels and 2 people; add clips, or choose "
            "another protocol or number of folds."
        )
