"""Predictions in a CSV, of any source: read, scored and compared clip by clip.

Columns: video, label, and score (P(genuine), or any number that grows with it) or predicted, or both, empty where a
clip has no answer; optionally subject, emotion, fold, and method, repeat, pair_score, sure as duchenne's own
predictions.csv has them. Labels may be called as in a manifest (genuine, true, 1; posed, fake, 0). Where no label is
one of those words, labels and predictions are classes, such as emotions or micro-expressions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duchenne import metrics
from duchenne.datasets.manifest import LABEL_WORDS
from duchenne.errors import InputError, UsageError
from duchenne.io import Table, note_twins, number, read_json, shown, word
from duchenne.metrics import classes, paired
from duchenne.types import Array, Json, JsonMap

NEEDED = ("video", "label")
KNOWN = ("score", "predicted", "subject", "emotion", "fold", "method", "repeat", "pair_score")
#: Metrics of any score that grows with P(genuine), and of probabilities only.
_BY_ORDER = ("auc", "auc_interval", "permutation_p")
_BY_SIZE = ("brier", "brier_interval", "ece", "ece_interval", "risk_coverage")
_MOST_RESULTS = 2**28  # bytes
_Rows = list[tuple[int, dict[str, str]]]  # line and cells


@dataclass(frozen=True, eq=False)
class Sheet:
    """The answers of one method in one repeat; arrays of N clips, "" or NaN where a column has nothing.

    label is 1 and 0 (genuine, posed) for two classes, else names; predicted likewise with -1 or "" for no answer.
    A column is None, and scores are probabilities (`probable`, all in 0..1), for all repeats of a method or for none.
    """

    method: str
    repeat: int
    video: Array
    label: Array
    predicted: Array | None
    score: Array | None
    probable: bool
    rank: Array | None
    subject: Array | None
    emotion: Array | None

    @property
    def named(self) -> bool:
        """True where labels are names of classes rather than genuine and posed."""
        return self.label.dtype.kind in "UO"

    @property
    def p(self) -> Array:
        """float64 (N,): the score, else 1, 0 or NaN as predicted."""
        if self.score is not None:
            return self.score
        assert self.predicted is not None
        return np.where(self.predicted < 0, np.nan, self.predicted.astype(float))


def read(path: str | Path) -> list[Sheet]:
    """Every method and repeat of a predictions CSV; InputError, with the line, for invalid ones."""
    path = Path(path)
    rows = list(_rows(path))
    if not rows:
        raise InputError(f"{path} has no answers; expected one clip per row below the header.")
    named = not any(word(row["label"]) in LABEL_WORDS for _, row in rows)
    if named and "predicted" not in rows[0][1]:
        line, row = rows[0]
        raise InputError(
            f"{path}, line {line}, has the label '{shown(row['label'])}': expected genuine or posed (or true, fake, "
            "1, 0), or, to score classes, a column predicted."
        )
    groups: dict[str, dict[int, _Rows]] = {}
    for line, row in rows:
        repeat = word(row.get("repeat")) or "0"
        if not (repeat.isascii() and repeat.isdigit() and len(repeat) < 10):
            raise InputError(f"{path}, line {line}, has the repeat '{shown(repeat)}'; expected a number from 0.")
        groups.setdefault(row.get("method", ""), {}).setdefault(int(repeat), []).append((line, row))
    sheets = [sheet for method, repeats in groups.items() for sheet in _sheets(path, method, repeats, named)]
    if not any(_answered(sheet) for sheet in sheets):
        raise InputError(f"{path} has no answers: its columns score and predicted are empty; fill one of them.")
    return sheets


def _sheets(path: Path, method: str, repeats: Mapping[int, _Rows], named: bool) -> Iterator[Sheet]:
    every = [item for rows in repeats.values() for item in rows]
    filled = {name for name in KNOWN if any(row.get(name) for _, row in every)}
    if not {"score", "predicted"} & filled or named:  # one of several methods may have no answers
        filled.add("predicted")

    def words(name: str, rows: _Rows) -> Array | None:
        # as objects: a long name would make every row as long
        return np.array([row[name] for _, row in rows], object) if name in filled else None

    def truth(name: str, rows: _Rows) -> Array:
        return np.array([_label(row.get(name, ""), name, path, line) for line, row in rows])

    def numbers(name: str, rows: _Rows) -> Array | None:
        return np.array([_number(row[name], name, path, line) for line, row in rows]) if name in filled else None

    if "subject" in filled:
        note_twins((row["subject"] for _, row in every), path)
    if "subject" in filled and (blank := [line for line, row in every if not row["subject"]]):
        raise InputError(f"{path}, line {blank[0]}, has no subject; fill in all of them, or remove the column.")
    score = numbers("score", every)
    probable = score is not None and not ((score < 0) | (score > 1)).any()
    for repeat, rows in repeats.items():
        _check_once(path, rows)
        yield Sheet(
            method,
            repeat,
            np.array([row["video"] for _, row in rows], object),
            np.array([row["label"] for _, row in rows], object) if named else truth("label", rows),
            words("predicted", rows) if named else truth("predicted", rows) if "predicted" in filled else None,
            numbers("score", rows),
            probable,
            numbers("pair_score", rows),
            words("subject", rows),
            words("emotion", rows),
        )


def _check_once(path: Path, rows: _Rows) -> None:
    first: dict[str, int] = {}
    for line, row in rows:
        earlier = first.setdefault(row["video"], line)
        if earlier != line:
            raise InputError(
                f"{path}, line {line}, answers {shown(row['video'])} a second time (line {earlier}); keep one row."
            )


def _answered(sheet: Sheet) -> bool:
    if sheet.named:
        assert sheet.predicted is not None
        return any(sheet.predicted.tolist())
    return bool(np.isfinite(sheet.p).any() or (sheet.predicted is not None and (sheet.predicted >= 0).any()))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    table = Table(path, kind="file of predictions", distinct=(*NEEDED, *KNOWN))
    if not {*NEEDED} <= {*table.names} or not {"score", "predicted"} & {*table.names}:
        expected = "must have the columns video, label and score (or predicted)"
        raise InputError(f"{path} {expected}, found {table.found}; add the others.")
    for row in table:
        words = {name: cell for name, cell in row.cells.items() if name in (*NEEDED, *KNOWN)}
        for name in NEEDED:
            if not words[name]:
                raise InputError(f"{row.where}, has no {name}; fill in the cell.")
        yield row.line, words


def _label(text: str, kind: str, path: Path, line: int) -> int:
    if not text:
        return -1
    if word(text) not in LABEL_WORDS:
        raise InputError(f"{path}, line {line}, has the {kind} '{shown(text)}'; use one of {', '.join(LABEL_WORDS)}.")
    return int(LABEL_WORDS[word(text)] == "genuine")


def _number(text: str, name: str, path: Path, line: int) -> float:
    try:
        value = number(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise InputError(
            f"{path}, line {line}, has the {name} '{shown(text)}'; expected a number, or nothing for no answer."
        )
    return value


def score(sheet: Sheet, *, threshold: float | None = None, n: int = 1000, seed: int = 0) -> Json:
    """Every score of one sheet, flat (see `metrics.score` and, for named classes, `classes.score_classes`).

    Accuracy, balanced accuracy and F1 use score >= `threshold` if given, else the column predicted, else score >= 0.5
    if all scores are in 0..1. AUC, its permutation test and forced pairs use the score; Brier, ECE and, at 0.5, risk
    and coverage need probabilities. Others are None. UsageError where scores are not probabilities and nothing else
    gives a class, and for a `threshold` without scores.
    """
    if threshold is not None and (sheet.named or sheet.score is None or not math.isfinite(threshold)):
        raise UsageError("--threshold must be a finite number and needs a column score; leave it out.")
    if sheet.named:
        assert sheet.predicted is not None
        return classes.score_classes(sheet.predicted, sheet.label, sheet.subject, n=n, seed=seed)
    probable, scored = sheet.probable, sheet.score is not None
    known: Json = {"subject": sheet.subject, "emotion": sheet.emotion, "n": n, "seed": seed}
    out = metrics.score(_called(sheet, threshold), sheet.label, **known)
    # ranks scaled to 0..1 are enough for AUC and pairs
    order = sheet.p if probable else _ranked(sheet.p)
    by_score = metrics.score(order, sheet.label, rank=sheet.rank, **known)
    emotions = [(each, by_score["per_emotion"][name]) for name, each in out.get("per_emotion", {}).items()]
    for to, source in [(out, by_score), *emotions]:
        to |= {key: source[key] for key in ("pairs", "forced_pairs", "forced_pairs_interval") if key in to}
        to |= {key: source[key] if scored else None for key in _BY_ORDER if key in to}
        to |= {key: source[key] if probable else None for key in _BY_SIZE if key in to}
    return out


def _called(sheet: Sheet, threshold: float | None) -> Array:
    """float64 (N,): 1.0, 0.0, or NaN where nothing was answered."""
    if sheet.predicted is not None and threshold is None:
        return np.where(sheet.predicted < 0, np.nan, sheet.predicted.astype(float))
    p = sheet.p
    if threshold is None and not sheet.probable:
        raise UsageError(
            f"Scores run from {np.fmin.reduce(p):g} to {np.fmax.reduce(p):g}, which are not probabilities; add a "
            "column predicted, or give --threshold."
        )
    return np.where(np.isfinite(p), p >= (0.5 if threshold is None else threshold), np.nan).astype(float)


def _ranked(p: Array) -> Array:
    known = np.unique(p[np.isfinite(p)])
    return np.where(np.isfinite(p), np.searchsorted(known, p) / max(len(known) - 1, 1), np.nan)


def load(path: str | Path) -> list[Sheet]:
    """The sheets of a predictions CSV, or of the one that a results.json names beside it."""
    path = Path(path)
    if path.suffix.lower() != ".json":
        return read(path)
    if not path.exists():
        raise InputError(f"There is no file {path}; give a results.json or a predictions CSV.")
    try:
        about = read_json(path, _MOST_RESULTS)["predictions"]
        file, expected = path.parent / Path(about["file"]).name, str(about["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} is not a results.json of duchenne evaluate; give one, or a predictions CSV."
        ) from error
    if not file.is_file():
        raise InputError(f"There is no {file}, which holds the answers of {path.name}; keep both in one folder.")
    if hashlib.sha256(file.read_bytes()).hexdigest() != expected:
        raise InputError(f"{file} is not the file that {path.name} was made with; run duchenne evaluate again.")
    return read(file)


def choose(sheets: Sequence[Sheet], method: str | None, source: str | Path) -> list[Sheet]:
    """All repeats of `method`, or of the first one; UsageError lists the methods."""
    names = list(dict.fromkeys(sheet.method for sheet in sheets))
    if method is not None and method not in names:
        what = f"choose one of: {', '.join(map(shown, names))}" if any(names) else "its rows name no methods"
        raise UsageError(f"{source} has no method '{shown(method)}'; {what}.")
    return [sheet for sheet in sheets if sheet.method == (names[0] if method is None else method)]


def compare(a: Sequence[Sheet], b: Sequence[Sheet], *, n: int = 2000, seed: int = 0) -> list[Json]:
    """`paired.compare` of two methods' sheets, repeat by repeat, on the clips that both answer.

    A method with one repeat is compared with each of the other's; otherwise unpaired repeats are left out. Accuracy
    needs predictions or probabilities of both, AUC and forced pairs scores of both. InputError where they share no
    clip, give one clip different labels, or have no persons; UsageError where nothing can be compared.
    """
    if 1 in (len(a), len(b)):
        a, b = list(a) * len(b), list(b) * len(a)
    return [_compare(one, other, n, seed) for one, other in zip(a, b, strict=False)]


def _compare(a: Sheet, b: Sheet, n: int, seed: int) -> Json:
    place = {name: i for i, name in enumerate(b.video.tolist())}
    rows = [i for i, name in enumerate(a.video.tolist()) if name in place]
    others = [place[a.video[i]] for i in rows]
    if not rows:
        raise InputError("The two files have no clip in common; compare answers to the same videos.")
    if a.named or b.named:
        raise InputError("Only labels genuine and posed can be compared, found classes; give files with these labels.")
    if (differ := np.flatnonzero(a.label[rows] != b.label[others])).size:
        video = shown(a.video[rows[int(differ[0])]])
        raise InputError(f"The two files give {video} different labels; correct one of them.")
    who, emotion = (
        x[rows] if x is not None else y[others] if y is not None else None
        for x, y in ((a.subject, b.subject), (a.emotion, b.emotion))
    )
    if who is None:
        raise InputError("Neither file has a column subject, which the tests over persons need; add it.")
    label, probable = a.label[rows], a.probable and b.probable
    draws: Json = {"n": n, "seed": seed}
    out: Json = {}
    if a.score is not None and b.score is not None:
        out = paired.compare(
            a.score[rows], b.score[others], label, who, emotion=emotion, **_ranks(a, rows, b, others),
            metrics=("auc", "brier") if probable else ("auc",), **draws,
        )  # fmt: skip
        del out["mcnemar"]  # follows from classes, below
    if all(sheet.predicted is not None or sheet.probable for sheet in (a, b)):
        one, other = _called(a, None)[rows], _called(b, None)[others]
        out |= paired.compare(one, other, label, who, metrics=("accuracy",), **draws)
    if not out:
        raise UsageError("One file has scores that are not probabilities and the other has none; add the same column.")
    return {"clips": len(rows), "only_in_a": len(a.video) - len(rows), "only_in_b": len(b.video) - len(rows)} | out


def _ranks(a: Sheet, rows: list[int], b: Sheet, others: list[int]) -> Json:
    return {
        "rank_a": None if a.rank is None else a.rank[rows],
        "rank_b": None if b.rank is None else b.rank[others],
    }


def summary(results: JsonMap) -> list[str]:
    """A comparison in sentences, without what could not be computed.

    A difference is claimed only if interval and test agree: with few persons the interval alone is too narrow.
    """
    lines = []
    for name in ("accuracy", "auc", "forced_pairs", "brier"):
        found = results.get(name)
        if found is None or not math.isfinite(found["difference"]):
            continue
        low, high = found["interval"]
        line = f"{name.replace('_', ' ')}: {found['a']:.3f} against {found['b']:.3f}, "
        line += f"difference {_signed(found['difference'])}"
        if not math.isfinite(low):
            lines.append(f"{line}: too few persons to test")
            continue
        real = not low <= 0 <= high and found["p"] < 0.05
        lines.append(
            f"{line} (95 % over persons {_signed(low)} to {_signed(high)}), p = {found['p']:.3g}: "
            + ("a difference that chance does not explain" if real else "no difference is shown")
            + (" (a smaller Brier score is better)" if name == "brier" else "")
        )
    return lines


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # never −0.000
