"""Whether reasons are true: take away what a reason names, and see whether P(genuine) moves the way it says.

    DUCHENNE_DATA=<folder with data/pedfe/clips> python benchmarks/reasons.py [--work FOLDER] [--clips 0] [-o FILE]
    python benchmarks/reasons.py --texts

A reason is a group of descriptors that a verdict names, for spontaneous or for posed (`tabular.groups`), found by
holding the group as in typical training clips. Here it is taken away in two other ways, and all else is kept:

    others   the group's descriptors are those of 30 clips of other people in turn, whose mean P(genuine) counts
    rest     the group's curves are held where they are in the first frames of the movement, so that this part of the
             face is still, and all is described again; of the look, the first crop. A clip's ends have no rest

Of PEDFE's raw clips (--clips: so many, people in turn; 0 all), judged by the shipped model, whose people they are: what
is checked is the explanation, not the verdict. Intervals (95 %) resample people. --work keeps the faces as they were
read ($DUCHENNE_CACHE otherwise). Writes reasons.json and the table of docs/science/signs.md; --texts the table alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import judged
import numpy as np
from steady import chosen

from duchenne import DuchenneError, io, judging, pipeline
from duchenne.clips.cache import Cache
from duchenne.features import descriptors
from duchenne.learn.calibration import logit, sigmoid
from duchenne.methods.cuts import Cuts
from duchenne.tabular import appearance, groups
from duchenne.types import Array, Question, Verdict

OUT = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "science" / "signs.md"
OTHERS = 30
NAMES = {words: group for group, words in groups.GROUPS.items()}
#: A clip with one of its groups taken away: log-odds of P(genuine), NaN where that cannot be done.
Without = Callable[["Row", str], float]


@dataclass(frozen=True, eq=False)
class Row:
    """A verdict, what the model read for it, and what stays of the face at rest."""

    clip: judged.Known
    verdict: Verdict
    z: float
    question: Question
    model: Cuts
    inputs: Array
    look: Array
    expert: float

    def added(self, inputs: Array, look: Array) -> Array:
        """float64 (N,): the log-odds with other inputs (N, D + E) and looks (N, L) in place of the clip's."""
        found = self._log_odds(np.vstack([self.inputs, inputs]), np.vstack([self.look, look]))
        return np.asarray(self.z + found[1:] - found[0])

    def _log_odds(self, inputs: Array, look: Array) -> Array:
        """float64 (N,): those of the model, without what the smile expert adds."""
        share = self.model.facts["smile_share"] if np.isfinite(self.expert) else 0.0
        begun = self.model.detector.predict_table(inputs[:, : len(self.model.detector.names)])[:, 1]
        found = np.zeros(len(inputs))
        for hybrid, weight in ((self.model.whole, 1 - begun), (self.model.late, begun)):
            z = (1 - share) * hybrid.descriptors.fitted.logit(inputs)
            if np.isfinite(self.look).any():
                assert hybrid.mix is not None
                second = hybrid.other.fitted.logit(look)  # type: ignore[attr-defined]
                z = hybrid.mix.descriptors * z + hybrid.mix.other * second
            found += weight * z
        return found


def read(clip: judged.Known, kept: Cache) -> Row | None:
    """The clip as `duchenne analyze` judges it; None where there is no verdict."""
    asked: list[tuple[judging.Loaded, Question]] = []
    plain = judging.opinion
    try:
        judging.opinion = lambda loaded, question: asked.append((loaded, question)) or plain(loaded, question)  # type: ignore[assignment, func-returns-value]
        found = pipeline.examine(clip.path, read=kept.read_faces)[0]
    except DuchenneError as error:
        print(error, file=sys.stderr)
        return None
    finally:
        judging.opinion = plain
    loaded, question = asked[0]
    model = loaded.model
    if found.verdict.abstained or not isinstance(model, Cuts):
        return None
    (pair,) = model.whole.reader.with_cutter(lambda _, __, reader: question.cut(reader)).table([question.track])
    row, look = pair[0], np.full(len(model.whole.other.names), np.nan) if pair[1] is None else pair[1]  # type: ignore[attr-defined]
    expert = next((i.contribution for i in found.verdict.evidence if NAMES[i.feature] == "smile"), np.nan)
    inputs = model.whole.descriptors.inputs(row[None], question.seen)[0]
    z = float(logit(np.array(found.p_raw)))
    return Row(clip, found.verdict, z, question, model, inputs, look, float(expert))


def with_others(rows: list[Row]) -> Without:
    """Each group in turn as in clips of other people."""
    random = np.random.default_rng(0)

    def without(row: Row, group: str) -> float:
        strangers = [each for each in rows if each.clip.subject != row.clip.subject]
        drawn = [strangers[i] for i in random.choice(len(strangers), OTHERS)]
        if group == "smile":
            return row.z - row.expert
        names = row.model.whole.descriptors.inputs_names
        inputs, look = np.repeat(row.inputs[None], OTHERS, 0), np.repeat(row.look[None], OTHERS, 0)
        if group == "look":
            look = np.array([each.look for each in drawn])
        else:
            index = groups.columns(names)[group]
            inputs[:, index] = np.array([each.inputs[index] for each in drawn])
        z = row.added(inputs, look)
        return float(logit(np.mean(sigmoid(z[np.isfinite(z)]))))

    return without


def at_rest(row: Row, group: str) -> float:
    """The group's curves held as in the first frames."""
    model = row.model.whole.descriptors
    if group in ("ends", "emotion", "smile"):
        return np.nan
    if group == "look":
        looks = row.question.cut(row.model.whole.other.reader)  # type: ignore[arg-type]
        assert looks.crops is not None
        features = appearance.look(np.asarray(looks.crops)[:1, ..., 0])
        still = appearance.describe(looks.time, np.repeat(features, len(looks.time), 0))
        return float(row.added(row.inputs[None], still[None])[0])
    values = descriptors.gap_free(row.question.track, model.fps, model.family)
    family = descriptors.FAMILIES[model.family]
    for k, curve in enumerate(family.measured):
        if groups.group_of(f"{curve}.rise") == group:
            values[:, k] = values[:3, k].mean()
    still = model.inputs(descriptors.describe(values, model.fps, model.family)[None], row.question.seen)
    return float(row.added(still, row.look[None])[0])


def summary(rows: list[Row], ways: dict[str, Without]) -> dict[str, Any]:
    """Of each way: reasons that were checked, and the share that holds, over all, by group, and of the strongest."""
    found: dict[str, Any] = {}
    for way, without in ways.items():
        checks = []
        for row in rows:
            for place, item in enumerate(row.verdict.evidence):
                z = without(row, NAMES[item.feature])
                if np.isfinite(z):
                    checks.append((row.clip.subject, NAMES[item.feature], place, (row.z - z) * item.contribution > 0))
        subjects, names, places, holds = (np.array(each) for each in zip(*checks, strict=True))
        which = {"all": np.ones(len(checks), bool), "strongest": places == 0}
        which |= {name: names == name for name in groups.GROUPS if (names == name).any()}
        found[way] = {
            name: dict(zip(("holds", "interval"), judged.share(holds & use, use, subjects.tolist()), strict=True))
            | {"reasons": int(use.sum())}
            for name, use in which.items()
        }
    return found


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """The content of the JSON."""
    kept = Cache(args.work, limit=float("inf"))
    clips = judged.clips()
    rows = [row for clip in chosen(clips, args.clips or len(clips), 0) if (row := read(clip, kept)) is not None]
    about = {
        "clips": len(rows),
        "people": len({row.clip.subject for row in rows}),
        "model": rows[0].verdict.model["sha256"],
    }
    return about | {"reasons": summary(rows, {"others": with_others(rows), "rest": at_rest})}


def table(found: dict[str, Any]) -> str:
    """The table of docs/science/signs.md."""
    others, rest = found["reasons"]["others"], found["reasons"]["rest"]
    lines = [
        f"| {found['clips']} clips of {found['people']} people, reasons | as in others' clips | held at rest |",
        "|---|---|---|",
    ]
    for name, its in others.items():
        words = {"all": "**all**", "strongest": "the strongest of each clip"}.get(name) or groups.GROUPS[name]
        lines.append(f"| {words}, {its['reasons']} | {_share(its)} | {_share(rest.get(name))} |")
    return "\n".join(lines) + "\n"


def _share(its: dict[str, Any] | None) -> str:
    if its is None or its["holds"] is None:
        return "–"
    return f"{100 * its['holds']:.1f} % ({' to '.join(f'{100 * end:.1f}' for end in its['interval'])})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--clips", type=int, default=0)
    parser.add_argument("--texts", action="store_true", help="write the table alone")
    parser.add_argument("-o", "--output", type=Path, default=OUT)
    args = parser.parse_args()
    if not args.texts:
        io.write_json(args.output, measured(args))
    if args.texts or args.output == OUT:
        judged.put("reasons", "", "", table(json.loads(args.output.read_text(encoding="utf-8"))), PAGE)


if __name__ == "__main__":
    main()
