"""What is to be evaluated: the clips of one or more manifests, checked, and who is tested by whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from duchenne.datasets import manifest, splits
from duchenne.datasets.splits import Split
from duchenne.errors import InputError, UsageError
from duchenne.types import Array, Clip, Json

PROTOCOLS = {
    "kfold": "person-disjoint {folds}-fold cross-validation",
    "loso": "leave one person out",
    "fixed": "the folds that the manifest gives",
    "cross": "trained on one corpus, tested on another",
}


@dataclass(frozen=True)
class Plan:
    """Everything that decides a result; a results file holds it.

    manifests  one CSV per corpus (for protocol "cross" two or more, or one whose column fold names the corpora)
    models     names for `methods.names.make`, compared on the same folds; the first is the main one
    repeats    assignments of people to folds; scores are their means
    draws      resamples of people for each interval
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

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UsageError(f"There is no protocol '{self.protocol}'; choose one of: {', '.join(PROTOCOLS)}.")
        for name, value, least in (("folds", self.folds, 2), ("repeats", self.repeats, 1), ("draws", self.draws, 1)):
            if value < least:
                raise UsageError(f"At least {least} {name} are needed, not {value}.")
        if not self.models:
            raise UsageError("No model was given; name at least one, for example default.")
        if len(set(self.models)) < len(self.models):
            raise UsageError("A model was given twice; name each once.")

    @property
    def words(self) -> str:
        """The protocol in a sentence."""
        text = PROTOCOLS[self.protocol].format(folds=self.folds)
        many = f", mean over {self.repeats} assignments of people to folds" if self.repeats > 1 else ""
        return f"{text}{many}; whatever a method chooses or calibrates, it does on the training people of each fold"


@dataclass(frozen=True)
class Corpus:
    """The clips of a plan, in order, with the line of the manifest each came from and the corpus it belongs to."""

    clips: tuple[Clip, ...]
    where: tuple[str, ...]
    corpus: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)


def gather(plan: Plan, *, skip_missing: bool = False) -> Corpus:
    """Read and check the manifests before any work; InputError with file and line for the first fault.

    A fault is: no person, an unknown word, a row twice, a file that is not there (unless `skip_missing`, which
    leaves the clip out and says so), nothing with a label, a person in two folds of protocol "fixed", or one
    of its folds with clips of one label only.
    """
    clips: list[Clip] = []
    where: list[str] = []
    corpus: list[str] = []
    names: list[str] = []
    notes: list[str] = []
    stems = _corpus_names(plan.manifests)
    for file, stem in zip(plan.manifests, stems, strict=True):
        rows = manifest.read_rows(file)
        absent = dict(manifest.missing(rows))
        if absent and not skip_missing:
            line, path = next(iter(absent.items()))
            more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
            raise InputError(
                f"{file}, line {line}, names {path}, which is not there{more}; mend the path, or leave such clips "
                "out with --skip-missing."
            )
        notes += [f"Left out: {file}, line {line}: {path} is not there." for line, path in absent.items()]
        unlabelled = sum(clip.label is None for line, clip in rows if line not in absent)
        if unlabelled:
            notes.append(f"Left out: {unlabelled} clips of {file} without a label.")
        base = _base([clip for _, clip in rows], Path(file).parent)
        for line, clip in rows:
            if line in absent or clip.label is None:
                continue
            person = f"{stem}/{clip.subject}" if len(stems) > 1 else clip.subject
            clips.append(replace(clip, subject=person))
            where.append(f"{file}, line {line}")
            corpus.append(stem if len(stems) > 1 else clip.fold or "")
            names.append(_name(clip, Path(file).parent, base))
    if len({clip.label for clip in clips}) < 2:
        found = clips[0].label if clips else None
        listed = ", ".join(plan.manifests)
        found = f"{found} only" if found else "no label"
        raise InputError(f"{listed}: genuine and posed clips are needed to evaluate, found {found}; add labels.")
    if plan.protocol == "cross" and "" in corpus:
        raise InputError(
            f"{where[corpus.index('')]}, has no fold; protocol cross needs a manifest per corpus, or one whose column "
            "fold names the corpus of every clip."
        )
    gathered = Corpus(tuple(clips), tuple(where), tuple(corpus), tuple(names), tuple(notes))
    if plan.protocol == "fixed":
        _check_folds(gathered)
    return gathered


def _corpus_names(files: Sequence[str]) -> list[str]:
    stems = [Path(file).stem for file in files]
    if len(set(stems)) < len(stems):
        raise UsageError("Two manifests have the same name; a corpus is named after its file, so rename one.")
    return stems


def _base(clips: Sequence[Clip], folder: Path) -> Path:
    """The folder that holds all clips which do not lie with the manifest."""
    away = [Path(clip.path).absolute().parent for clip in clips if not Path(clip.path).is_relative_to(folder)]
    return Path(os.path.commonpath(away)) if away else folder


def _name(clip: Clip, folder: Path, base: Path) -> str:
    """A clip as predictions name it: its path below the manifest's `folder`, or below `base` (see `_base`), and its
    stretch if there is one. Results are passed on, so they must not name this machine's folders."""
    path = Path(clip.path)
    text = path.relative_to(folder if path.is_relative_to(folder) else base).as_posix()
    if clip.start is None and clip.end is None:
        return text
    return f"{text}@{clip.start or 0:g}-{'' if clip.end is None else f'{clip.end:g}'}"


def _check_folds(corpus: Corpus) -> None:
    """Each person in one fold, each fold with both labels: said with the line, as `splits.fixed` cannot."""
    home: dict[str, tuple[str, str]] = {}
    for clip, where in zip(corpus.clips, corpus.where, strict=True):
        if clip.fold is None:
            raise InputError(f"{where}, has no fold; protocol fixed needs one for every clip.")
        fold, line = home.setdefault(str(clip.subject), (clip.fold, where))
        if fold != clip.fold:
            raise InputError(
                f"{where}, puts person '{clip.subject}' into fold '{clip.fold}', but {line} into '{fold}'; keep each "
                "person in one fold, otherwise the score says who was recognised."
            )
    for fold in sorted({str(clip.fold) for clip in corpus.clips}):
        rows = [i for i, clip in enumerate(corpus.clips) if clip.fold == fold]
        labels = {corpus.clips[i].label for i in rows}
        if len(labels) < 2:
            raise InputError(
                f"{corpus.where[rows[0]]}: fold '{fold}' holds {labels.pop()} clips only; every fold needs both labels."
            )


def runs(plan: Plan, corpus: Corpus) -> Iterator[tuple[str, int, list[Split]]]:
    """(name, repeat, splits) of everything that is scored apart: one per repeat, and per pair of corpora."""
    persons = [clip.subject for clip in corpus.clips]
    for repeat in range(plan.repeats):
        if plan.protocol == "cross":
            for learnt, tested, train, test in splits.cross(corpus.corpus, persons):
                _check_training(train, corpus, f"Corpus '{learnt}' has")
                yield f"{learnt} → {tested}", repeat, [(train, test)]
            continue
        make: dict[str, Callable[[], Iterator[Split]]] = {
            "kfold": partial(splits.by_person, persons, plan.folds, plan.seed + repeat),
            "loso": lambda: splits.leave_one_person_out(persons),
            "fixed": lambda: splits.fixed([clip.fold for clip in corpus.clips], persons),
        }
        found = list(make[plan.protocol]())
        for number, (train, _) in enumerate(found, 1):
            _check_training(train, corpus, f"To test fold {number} of {len(found)}, protocol {plan.protocol} leaves")
        yield "", repeat, found


def _check_training(train: Array, corpus: Corpus, who: str) -> None:
    clips = [corpus.clips[i] for i in train.tolist()]
    labels, people = {str(clip.label) for clip in clips}, {clip.subject for clip in clips}
    if len(labels) < 2 or len(people) < 2:
        found = f"{' and '.join(sorted(labels))} clips of {len(people)} {'people' if len(people) > 1 else 'person'}"
        raise UsageError(
            f"{who} only {found} to learn from, but methods need both labels and 2 people; add clips of others, or ask "
            "for another protocol or number of folds."
        )
