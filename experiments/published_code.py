"""What the published LSTM-PB program's vectors depend on, measured on real clips.

    DUCHENNE_DATA=<folder with data/pedfe/points.npz> python experiments/published_code.py [--texts]

Networks of readings `published-code` and `paper`, of the small recipe's size, are trained on half of PEDFE's open people for
a few epochs; what their PB vectors and their recurrence depend on is measured on the other half. AUCs are of five person-disjoint
folds, the `published-code` network and classifier trained on each; those of `paper` are in
experiments/lstm_pb.toml. Writes experiments/published_code.json and the table in docs/lstm-pb.md;
with --texts the table alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.linear_model import RidgeCV

from duchenne import __version__, io, metrics
from duchenne.datasets import splits
from duchenne.learn.linear import Linear
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.network import LSTMPB
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.metrics import intervals

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "lstm-pb.md"
READINGS = ("published-code", "paper")
EPOCHS, FOLDS, PAIRS, SEED = 8, 5, 40, 0


def model(reading: str) -> PBModel:
    """Of the small recipe's size, unfitted."""
    changes = {"epochs": EPOCHS, "batch_size": 32, "lr_patience": 5}
    changes |= {} if reading == "published-code" else {"recognition_steps": 20}
    return PBModel(PBRecipe.of_reading(reading, seed=SEED, **changes))


def partners(subject: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,): for every clip the index of a clip of another person."""
    return np.array([rng.choice(np.flatnonzero(subject != who)) for who in subject])


def swapped(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """object (N,): each clip's first two frames, then the frames that follow the first two of clip `other`[i]."""
    out = np.empty(len(x), object)
    for i, j in enumerate(other):
        out[i] = np.concatenate([x[i][:2], x[j][2:]])
    return out


def moved(before: np.ndarray, after: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """How far vectors (N, D) moved, and the median of it in medians of the distance from a vector to its partner's."""
    step = np.linalg.norm(after - before, axis=1)
    return {
        "largest": float(step.max()),
        "median": float(np.median(step)),
        "median_in_distances_between_clips": float(
            np.median(step) / np.median(np.linalg.norm(before - before[other], axis=1))
        ),
    }


@torch.no_grad()
def trace_difference(net: LSTMPB, a: np.ndarray, b: np.ndarray, pb: np.ndarray) -> tuple[float, float]:
    """(largest difference between the states that the recurrence passes through over two clips, each with its own PB vector,
    largest state): hidden, memory and context after every frame that both have."""
    clips, vectors = [torch.from_numpy(each)[None] for each in (a, b)], torch.as_tensor(pb, dtype=torch.float32)
    states: list[Any] = [None, None]
    difference = size = 0.0
    for t in range(min(len(a), len(b))):
        for k in range(2):
            states[k] = net(clips[k][:, t : t + 1], vectors[k : k + 1], states[k])[1]
        for one, two in zip(states[0][:3], states[1][:3], strict=True):
            difference, size = max(difference, float((one - two).abs().max())), max(size, float(one.abs().max()))
    return difference, size


def eta_squared(rows: np.ndarray, group: np.ndarray) -> dict[str, float]:
    """Share of the variance of rows (N, D), summed over columns, that lies between groups; and what shuffled groups would
    give on average, (groups − 1) / (N − 1)."""
    names, which, count = np.unique(group, return_inverse=True, return_counts=True)
    centred = rows - rows.mean(axis=0)
    means = np.stack([centred[which == k].mean(axis=0) for k in range(len(names))])
    share = (count[:, None] * means**2).sum() / (centred**2).sum()
    return {"share": float(share), "by_chance": (len(names) - 1) / (len(rows) - 1)}


def predicted_share(x: np.ndarray, rows: np.ndarray, subject: np.ndarray) -> float:
    """R² of rows (N, D), summed over columns, of a ridge regression on x (N, F) for unseen people; 0 is the
    score of the training people's mean."""
    missed = total = 0.0
    for train, test in splits.by_person(subject, FOLDS, SEED):
        centre, spread = x[train].mean(axis=0), x[train].std(axis=0) + 1e-9
        ridge = RidgeCV(np.logspace(-2, 4, 13)).fit((x[train] - centre) / spread, rows[train])
        missed += ((ridge.predict((x[test] - centre) / spread) - rows[test]) ** 2).sum()
        total += ((rows[train].mean(axis=0) - rows[test]) ** 2).sum()
    return float(1 - missed / total)


def frames(x: np.ndarray, count: int) -> np.ndarray:
    """(N, 80 · count): the points of the first frames."""
    return np.stack([each[:count].ravel() for each in x]).astype(float)


def dependence(data: dict[str, np.ndarray]) -> dict[str, Any]:
    """Questions 1 to 3, on people that the networks have not seen."""
    train, test = next(splits.by_person(data["subject"], 2, SEED))
    seen, new = ({key: values[rows] for key, values in data.items()} for rows in (train, test))
    rng = np.random.default_rng(SEED)
    other = partners(new["subject"], rng)
    pairs = [(i, other[i]) for i in rng.permutation(len(test))[:PAIRS]]
    found: dict[str, Any] = {"clips": len(test), "people": len(np.unique(new["subject"])), "pairs_of_clips": PAIRS}
    for reading in READINGS:
        fitted = model(reading).fit_table(seen["x"], seen["genuine"], seen["subject"])
        rows = fitted.vectors(new["x"])
        traces = np.array([trace_difference(fitted.networks[""], *new["x"][[i, j]], rows[[i, j]]) for i, j in pairs])
        found[reading] = {
            "pb_moves_when_all_but_two_frames_change": moved(rows, fitted.vectors(swapped(new["x"], other)), other),
            "recurrence": {"largest_difference": traces[:, 0].max(), "largest_state": traces[:, 1].max()},
            "variance_between": {key: eta_squared(rows, new[key]) for key in ("subject", "emotion", "genuine")},
            "r2_from_first_frame": predicted_share(frames(new["x"], 1), rows, new["subject"]),
            "r2_from_two_frames": predicted_share(frames(new["x"], 2), rows, new["subject"]),
        }
    return found


def answers(data: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """(input, P(genuine) (N,) for held-out people)."""
    x, y, subject = data["x"], data["genuine"], data["subject"]
    cuts = list(splits.by_person(subject, FOLDS, SEED))
    p = np.full(len(y), np.nan)
    for train, test in cuts:
        p[test] = model("published-code").fit_table(x[train], y[train], subject[train]).predict_table(x[test])[:, 1]
    yield "pb", p
    for name, rows in (("first_frame", frames(x, 1)), ("first_two_frames", frames(x, 2))):
        p = np.full(len(y), np.nan)
        for train, test in cuts:
            p[test] = Linear.fit(rows[train], y[train], 0.05).probabilities(rows[test])[:, 1]
        yield name, p


def auc(p: np.ndarray, y: np.ndarray, subject: np.ndarray) -> dict[str, Any]:
    """AUC and its 95 % interval by person."""
    person = np.unique(subject, return_inverse=True)[1]
    drawn = [metrics.auc(p, y, counts[:, person]) for counts in intervals.draws(person.max() + 1, 2000, SEED, len(y))]
    return {"auc": float(metrics.auc(p, y)), "interval": list(intervals.percentiles(np.concatenate(drawn)))}


def published_score() -> dict[str, Any]:
    """The challenge's 66.7 %, as 20 of 30 forced pairs."""
    test = binomtest(20, 30)
    low, high = test.proportion_ci(method="wilson")
    return {"right": 20, "pairs": 30, "wilson": [low, high], "p_two_sided": test.pvalue}


def load() -> dict[str, np.ndarray]:
    """Sequences of all open clips that are long enough, and the facts about them."""
    file = Path(os.environ["DUCHENNE_DATA"]) / "data" / "pedfe" / "points.npz"
    x = model("paper").table(io.load_tracks(file))
    usable = np.array([each is not None for each in x])
    with np.load(file) as stored:
        known = {key: stored[key][usable] for key in ("subject", "emotion", "genuine")}
    return {"x": x[usable], **known}


def rounded(value: Any) -> Any:
    """Numbers rounded to four decimals (an exact zero stays zero)."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def table(found: dict[str, Any]) -> str:
    """The page's table."""
    by, auc_of, d = found["dependence"], found["auc"], "variance_between"
    lines = ["| measured on people that the network has not seen | published-code | paper |", "|---|---|---|"]

    def line(words: str, cells: list[str]) -> None:
        lines.append(f"| {words} | " + " | ".join(cells) + " |")

    def each(*path: str, form: str = ".3f") -> list[str]:
        cells = []
        for reading in READINGS:
            value = by[reading]
            for key in path:
                value = value[key]
            cells.append("exactly 0" if value == 0 else f"{value:{form}}")
        return cells

    changed = "pb_moves_when_all_but_two_frames_change"
    line(
        "PB vector moves when all frames after the second are another person's: median, where the distance between two "
        "people's clips is 1",
        each(changed, "median_in_distances_between_clips"),
    )
    line("the same: largest move of any clip, in PB units", each(changed, "largest", form=".3g"))
    line(
        "largest difference between the recurrence's states over two videos",
        each("recurrence", "largest_difference", form=".3g"),
    )
    for key, words in (("subject", "people"), ("emotion", "emotions"), ("genuine", "genuine and posed")):
        chance = by[READINGS[0]][d][key]["by_chance"]
        line(f"variance of PB that lies between {words} (shuffled: {chance:.3f})", each(d, key, "share"))
    line("variance of PB that the first frame's points predict (R², ridge)", each("r2_from_first_frame", form=".4f"))
    line("variance of PB that the first two frames' points predict (R², ridge)", each("r2_from_two_frames", form=".4f"))

    def score(s: dict[str, Any]) -> str:
        return f"{s['auc']:.3f} ({s['interval'][0]:.3f}–{s['interval'][1]:.3f})"

    for key, words in (
        ("pb", "AUC of genuine against posed from PB, logistic regression (95 % by person)"),
        ("first_two_frames", "the same from the first two frames' points, no network"),
        ("first_frame", "the same from the first frame's points, no network"),
    ):
        line(words, [score(auc_of[key]), "–"])
    return "\n".join(lines) + "\n"


def write_page(found: dict[str, Any]) -> None:
    """Write the table between its markers."""
    text = PAGE.read_text(encoding="utf-8")
    marks = r"(<!-- published-code -->\n).*?(<!-- /published-code -->)"
    io.write_text(PAGE, re.sub(marks, lambda m: m[1] + table(found) + m[2], text, flags=re.DOTALL))


def main() -> None:
    torch.set_num_threads(1)
    data = load()
    r = model("paper").recipe
    found = rounded({
        "data": "PEDFE, open part, head pose taken out",
        "clips": len(data["x"]),
        "people": len(np.unique(data["subject"])),
        "network": {key: getattr(r, key) for key in ("hidden_size", "num_layers", "pb_size", "context_size", "fps", "epochs")},
        "dependence": dependence(data),
        "auc": {name: auc(p, data["genuine"], data["subject"]) for name, p in answers(data)},
        "folds": FOLDS,
        "published_score": published_score(),
        "seed": SEED,
        "versions": {"duchenne": __version__, "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
    })  # fmt: skip
    io.write_json(HERE / "published_code.json", found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", action="store_true")
    if not parser.parse_args().texts:
        main()
    if PAGE.exists():
        write_page(json.loads((HERE / "published_code.json").read_text(encoding="utf-8")))
