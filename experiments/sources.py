"""The table of statements in docs/science/sources.md, each figure from the JSON of the script that measured it.

    python experiments/sources.py

Writes the table between its markers, and what docs/lstm-pb.md says of generated movement and of a bag's calibration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ship

from duchenne import io

HERE = Path(__file__).parent
BAD = "**fails on real people**"
TRIMMED = "landmarks found again on trimmed face boxes are the data that training lacks"


def found(name: str) -> Any:
    """The JSON of an experiment."""
    return io.read_json(HERE / f"{name}.json")


def bounded(row: Any, key: str) -> str:
    """A score with its interval over people."""
    low, high = row[f"{key}_interval"] if f"{key}_interval" in row else row["interval"]
    return f"{row[key]:.3f} ({low:.3f}–{high:.3f})"


def huynh() -> list[tuple[str, str, str, str, str]]:
    """Huynh & Kim's statements."""
    recipe, made, pb = found("lstm_pb_recipe")["variants"], found("generated"), found("lstm_pb")["methods"]
    first, summed, grid, jordan = (
        recipe[name]
        for name in (
            "one clip per step (the paper)",
            "eight clips at once, their steps summed",
            "eight summed, a layer after the grid (W_g)",
            "eight summed, context of the output (Jordan)",
        )
    )
    plain = f"instead of {summed['training_clips']:.1f}"
    apart = made["distance of a person's genuine and posed clips, halves of a face"]
    share = made["generated"]["all networks"]["distance of the two movements"] / apart
    judged = made["generated"]["all networks"]["genuine judged genuine"]
    trees = pb["lstm-pb:experiments/recipes/boosting.toml"]["score"]["auc"]
    peak = pb["peak intensity"]["score"]["auc"]
    return [
        (
            "100 epochs of one clip per step make the network a predictor", "2.3.6",
            "`python experiments/lstm_pb_recipe.py`",
            f"{BAD}: {first['unseen_pb_recognised']:.1f} times the error of standing still on unseen clips", "Huynh & Kim",
        ),
        (
            "the grid's output is fully connected to the hidden layer", "2.3.5", "the same",
            f"training error {grid['training_clips']:.1f} {plain} times standing still: no gain", "Huynh & Kim",
        ),
        (
            "Jordan context of 64 units", "2.3", "the same", f"{jordan['training_clips']:.1f} {plain}: no gain",
            "Huynh & Kim, Tani",
        ),
        (
            "generation of genuine and posed faces from their PB vectors", "2.3.2", "`python experiments/generated.py`",
            f"{BAD}: {'both are' if judged == 0 else f'{1 - judged:.0%} of the genuine are'} judged posed; they differ by "
            f"{share:.2f} of what people's own clips do", "Huynh & Kim",
        ),
        (
            "PB vectors and boosting tell genuine from posed", "2.4", "`duchenne run experiments/lstm_pb.toml`",
            f"{BAD}: AUC {trees:.3f}, peak intensity alone {peak:.3f}", "Huynh & Kim",
        ),
        *nearest(),
        *trimmed(),
    ]  # fmt: skip


def nearest() -> list[tuple[str, str, str, str, str]]:
    """Recognition by the nearer of two PB vectors."""
    what = "PB vectors of unseen clips converge to those of the learning phase, genuine and fake"
    command = "`python experiments/nearest_pb.py`"
    measured = found("nearest_pb")
    figures = "; ".join(
        f"`{reading}`: AUC {bounded(each['nearest'], 'auc')} by the nearer vector, {bounded(each['boosting'], 'auc')} by "
        f"5,000 trees, the two vectors {each['apart']:.2f} times as far apart as a clip is from the nearer"
        for reading, each in measured["readings"].items()
    )
    return [(what, "2.3", command, f"{BAD} of anger: {figures}", "Huynh & Kim")]


def trimmed() -> list[tuple[str, str, str, str, str]]:
    """Augmentation by landmarks on trimmed boxes."""
    measured = found("trimmed_boxes")
    moved = measured["movement"]
    scores = "; ".join(f"{name} {bounded(each, 'auc')}" for name, each in measured["variants"].items())
    return [
        (
            TRIMMED, "2.4",
            "`python experiments/trimmed_boxes.py`",
            f"{BAD} of anger, AUC: {scores}. A copy's points are {moved['of_half_a_face']:.3f} halves of a face from the clip's "
            f"own, of which a shift and scale explains {moved['explained_by_shift_and_scale']:.0%}", "Huynh & Kim",
        )
    ]  # fmt: skip


def others() -> list[tuple[str, str, str, str, str]]:
    """Saxen's entry, the thesis' sources, and what was not run."""
    pairs, methods = found("unit_pairs")["rows"], found("combined")["methods"]
    shares = ", ".join(f"{name} {bounded(row, 'right')}" for name, row in pairs.items())
    both, stack = (
        next(row for name, row in methods.items() if name.startswith(kind)) for kind in ("redundant:", "stack:")
    )
    sure = (
        f"right in {both['accuracy_where_sure']:.1%} of {both['coverage']:.0%} of clips; a stack of the same members in "
        f"{stack['accuracy_where_sure']:.1%} of {stack['coverage']:.0%}"
    ).replace("%", " %")
    boosted, linear = methods["boosted-svm:dynamics"], methods["linear-svm:dynamics"]
    svm = (
        f"{100 * boosted['accuracy']:.1f} %, AUC {boosted['auc']:.3f}; one linear SVM {100 * linear['accuracy']:.1f} %"
    )
    body = (
        "not measured: PEDFE's clips are faces on black, without body or scene. Mechanics only: 22,855,952 and 138,357,544 "
        "weights with the published names, classifiers included; on close-ups the body is the whole frame"
    )
    return [
        (
            "a rank SVM on activity descriptors of action units orders pairs", "the entry",
            "`python experiments/unit_pairs.py`", f"share of PEDFE's pairs in order: {shares}", "Saxen et al.",
        ),
        (
            "systems whose agreement reinforces their answers", "`redundant:A+B+C`", "`python experiments/combined.py`",
            sure, "Vanderhaegen & Zieba, by the thesis",
        ),
        (
            "boosted SVMs reach 98.08 %", "abstract", "the same",
            f"{BAD}: {svm}, {linear['auc']:.3f}", "Annadurai et al.",
        ),
        (
            "body (Xception) and scene (VGG16) fused, beside the face", "the whole",
            "`duchenne train context --manifest people.csv -o model/`", body, "Bendjoudi et al., by the thesis",
        ),
        networks(),
        *breuer(),
    ]  # fmt: skip


def networks() -> tuple[str, str, str, str, str]:
    """The networks of the thesis on crops."""
    rows = found("clips_small")["rows"]
    base = {name: row["auc"] for name, row in rows.items() if "epochs" not in row}
    best = max((name for name in rows if name not in base), key=lambda name: float(rows[name]["auc"]))
    beside = ", ".join(f"{name.removeprefix('baseline: ')} {auc:.3f}" for name, auc in base.items())
    both = max(float(row["both"]) for row in rows.values() if "both" in row)
    return (
        "networks on crops, of single faces and over time, of one task and of two", "the whole",
        "`python experiments/clips_small.py`",
        f"{BAD} at small sizes: {len(rows) - len(base)} networks, at best AUC {bounded(rows[best], 'auc')}; "
        f"{beside}. "
        f"Emotion and label both right in at most {100 * both:.1f} % of clips (chance 8.3 %); its 55.9 % and 23.33 % are of "
        "single frames of 10 people", "a thesis of 2023",
    )  # fmt: skip


def breuer() -> list[tuple[str, str, str, str, str]]:
    """Breuer & Kimmel's tables: small on a part of CK+, or not run."""
    made = found("breuer_ckplus")
    own, units = made["emotions"], made["units"]
    small = "`duchenne run experiments/breuer_{}.toml`; small: `python experiments/breuer_ckplus.py`"
    accuracy = "; ".join(f"{name}: {100 * its['accuracy']:.1f} %" for name, its in made["across"].items())
    return [
        (
            "CK+, eight classes, 98.62 %", "table 1", small.format("ckplus"),
            f"seven classes of people left out, small: {100 * own['accuracy']:.1f} % (macro F1 {own['uf1']:.2f})",
            "Breuer & Kimmel",
        ),
        (
            "trained on one set, tested on another", "table 3", small.format("cross"), f"small: {accuracy}",
            "Breuer & Kimmel",
        ),
        (
            "action units and their intensities, 97.54 % and 96.1 %", "4", small.format("units"),
            f"presence of {len(units['per_unit'])} units, people left out, small: {100 * units['mean_accuracy']:.1f} %, mean F1 "
            f"{units['mean_f1']:.2f}; 'always absent' has {100 * units['mean_accuracy_absent']:.1f} %; intensities are not at hand", "Breuer & Kimmel",
        ),
        (
            "CASME II, leaving one person out, 59.47 %", "5", "`duchenne run experiments/breuer_casme2.toml`",
            "not run: needs CASME II", "Breuer & Kimmel",
        ),
    ]  # fmt: skip


def statements() -> str:
    """The table of docs/science/sources.md."""
    lines = ["| source | statement | where | command | figure |", "|---|---|---|---|---|"]
    for what, where, command, figure, source in (*huynh(), *others()):
        lines.append(f"| {source} | {what} | {where} | {command} | {figure} |")
    return "\n".join(lines) + "\n"


def generated() -> str:
    """The paragraph of docs/lstm-pb.md on generated movement."""
    made = found("generated")
    every, first = (made["generated"][name] for name in ("all networks", "the first network"))
    real = made["distance of a person's genuine and posed clips, halves of a face"]
    higher = "genuine judged genuine more than posed of the same face"
    return (
        f"Generated movement: with all five networks `generate` makes genuine and posed differ by "
        f"{every['distance of the two movements']:.3f} halves of a face, where a person's own\nclips differ by {real:.3f}. A "
        "logistic regression on points, which is not an LSTM-PB and tells people's own clips apart with AUC "
        f"{made['AUC of the classifier on people' + chr(39) + 's own clips']:.2f},\nranks generated genuine above posed for "
        f"{every[higher]:.0%} of 42 faces, and calls {every['genuine judged genuine']:.0%} of the genuine genuine; by the "
        f"first network alone it ranked\n{first[higher]:.0%} so (`experiments/generated.py`).\n"
    ).replace("%", " %")


def bag() -> str:
    """The paragraph of docs/lstm-pb.md on the calibration of a bag."""
    rows = found("bag_calibration")["rows"]
    single, whole = rows["as a single network"], rows["as a bag"]
    return (
        f"On {whole['rows']:,} clips of people left out, five folds, the ECE is {single['ece']:.3f} "
        f"({'–'.join(f'{each:.3f}' for each in single['ece_interval'])}) as a single\nnetwork and {whole['ece']:.3f} "
        f"({'–'.join(f'{each:.3f}' for each in whole['ece_interval'])}) as a bag; the log-odds would have to be multiplied by "
        f"{single['slope_that_would_be_right']:.2f} and by {whole['slope_that_would_be_right']:.2f}\n"
        "(`experiments/bag_calibration.py`).\n"
    )


def tables() -> dict[str, dict[str, str]]:
    """Page → marker → text between its markers."""
    import clips_small
    import lstm_pb_recipe

    return {
        "docs/clip-networks.md": {"clips_small": clips_small.table(found("clips_small"))},
        "docs/science/sources.md": {"statements": statements()},
        "docs/lstm-pb.md": {
            "recipe": lstm_pb_recipe.table(found("lstm_pb_recipe")),
            "generated": generated(),
            "bag": bag(),
        },
    }


def main() -> None:
    """Rewrite the pages."""
    for page, parts in tables().items():
        text = (ship.ROOT / page).read_text(encoding="utf-8")
        for name, content in parts.items():
            text = ship.put(text, name, content)
        io.write_text(ship.ROOT / page, text)


if __name__ == "__main__":
    main()
