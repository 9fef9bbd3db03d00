"""Train the shipped models with the public command and write their cards and the pages' tables from the measurements.

    DUCHENNE_DATA=<folder with data/> python experiments/ship.py [--texts]

The JSON of experiments/pedfe.toml, uva_nemo.toml, sase_fe.toml (`duchenne run`, its results.json), cuts.py and
smile_share.py holds every figure that is written here.
With --texts only cards and tables are written. The distributions of the training people (reference.json) are written by
reference.py afterwards, from the same evaluations.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from duchenne import io

HERE = Path(__file__).parent
ROOT = HERE.parent
WEIGHTS = ROOT / "src" / "duchenne" / "weights"
LIMITS = [
    "Posed means told to act in a laboratory; it is not lying. Genuine means induced by film, rarely confirmed.",
    "Not for lie or credibility detection, hiring, schooling, policing, border control, insurance or medical use.",
    "The EU AI Act, Art. 5(1)(f), forbids inferring emotions at work and in education.",
    "At 1 % prevalence and 80 % sensitivity and specificity, 96 % of alarms would be false.",
    "Untested: other cultures and ages than the training people's, facial palsy, neurodivergence, occluded faces.",
]


def result(name: str) -> dict[str, Any]:
    """One experiment's JSON."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def train() -> None:
    """The commands that made the shipped models; `default-0.1` and its members are of an earlier version, by
    `train hybrid --reader paper --family dynamics` on PEDFE's public points."""
    data = Path(os.environ["DUCHENNE_DATA"]).resolve() / "data"
    share = str(result("smile_share")["chosen"])
    with tempfile.TemporaryDirectory() as folder:
        manifest, ours = str(Path(folder) / "pedfe.csv"), [sys.executable, "-m", "duchenne"]
        layout = ["--layout", "videos as released", "-o", manifest]
        subprocess.run([*ours, "datasets", "manifest", "pedfe", data / "pedfe", *layout], check=True)
        hybrid = ["train", "hybrid", "--manifest", manifest, "-o", str(WEIGHTS / "default"), "--smile-share", share]
        subprocess.run([*ours, *hybrid], check=True)
        table = ["--table", str(data / "uva_nemo" / "lip.csv"), "-o", str(WEIGHTS / "smile")]
        subprocess.run([*ours, "train", "descriptors", *table], check=True)


def cards() -> None:
    """card.json (what the report shows) and CARD.md (what people read) of both models."""
    uva, human = result("uva_nemo"), result("cuts")["human"]
    runs = {"default": ("default", "default"), "default-0.1": ("default_0_1", "default:dynamics")}
    measured = {name: (run := result(file), run["methods"][key]["score"]) for name, (file, key) in runs.items()}
    titles = {
        "default": "six emotions, any expression",
        "default-0.1": "as `default`, for faces of which only points are known",
    }
    facts = {
        name: {
            "title": titles[name],
            "data": "PEDFE (Miolla, Cardaioli & Scarpazza 2022, doi 10.3758/s13428-022-01914-4), open part; research use",
            "human": {
                "accuracy": human["single_rater_accuracy"],
                "text": f"a single human rater is right {human['single_rater_accuracy']:.1%} of the time on these clips; the mean of the whole crowd of "
                f"raters reaches AUC {human['crowd_auc']:.3f}",
            },
            **scores(*measured[name]),
        }
        for name in runs
    }
    facts["default"] |= cuts()
    steady = ROOT / "benchmarks" / "steady.json"
    facts["default"]["spread"] = json.loads(steady.read_text(encoding="utf-8"))["spread"]
    facts |= {
        "smile": {
            "title": "smiles, from lip-corner dynamics",
            "data": "UvA-NEMO (Dibeklioğlu, Salah & Gevers 2012), public lip-descriptor table, open part; research use",
            "human": None,
            **scores(uva, uva["methods"]["smile"]["score"]),
        },
    }
    for name, title in (
        ("descriptors", "descriptors of movement, the first of the two that `default-0.1` combines"),
        ("lstm-pb", "LSTM with parametric bias, reading `solved`, the second of the two that `default-0.1` combines"),
    ):
        run = result("pedfe" if name == "descriptors" else "lstm_pb_solved")
        same = {key: facts["default"][key] for key in ("data", "human")}
        facts[name] = {"title": title, **same, **scores(run, run["methods"][name]["score"])}
    for name, card in facts.items():
        folder = WEIGHTS / name
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        margin = about.get("mix", about)["margin"]
        known = {key: about["facts"][key] for key in ("people", "clips", "genuine")}
        card = {**known, "abstain_band": [round(0.5 - margin, 3), round(0.5 + margin, 3)], **card, "limits": LIMITS}
        io.write_json(folder / "card.json", card)
        io.write_text(folder / "CARD.md", card_text(name, card, about))


def cuts() -> dict[str, Any]:
    """How often whole verdicts on clips cut in three ways were right, and what is left of that elsewhere (verdict.py)."""
    found = result("verdict")
    names = {"whole": "as it is", "late": "first 25 % cut away", "rest": "1.5 s of rest before"}
    clips = {"whole": "", "late": " without their first quarter", "rest": " with 1.5 s of rest before"}
    shares = {cut: found["views"][name]["right"] for cut, name in names.items()}
    rows = {
        cut: {"clips": f"PEDFE's clips{clips[cut]}", "accuracy": share, "accuracy_interval": ends}
        for cut, (share, ends) in shares.items()
    }
    for cut in ("late", "rest"):
        rows[cut] |= {"uncut": shares["whole"][0], "by": "whole verdicts, where one was given"}
    rows["rest"]["seconds"] = 1.5
    there = [its["right"][0] for name, its in found["rates"].items() if "calibrated" not in name]
    return {
        "cuts": rows,
        "elsewhere": f"In another place of recording {min(there):.0%} to {max(there):.0%} of verdicts were right; expect less on clips "
        "from other sources.",
    }


def scores(run: dict[str, Any], s: dict[str, Any]) -> dict[str, Any]:
    """The scores on a card."""
    keys = ("accuracy", "accuracy_interval", "auc", "auc_interval", "ece", "brier")
    extra = {k: s[k] for k in ("forced_pairs", "per_emotion", "risk_coverage") if s.get(k) is not None}
    return {"protocol": run["protocol"], **{k: s[k] for k in keys}, **extra}


def made(name: str, about: dict[str, Any]) -> tuple[str, str]:
    """(its input, how it was made)."""
    if name in ("default", "default-0.1"):
        pair = WEIGHTS / "default" / "whole" / "model.json"
        mix = about["mix"] if "mix" in about else json.loads(pair.read_text(encoding="utf-8"))["mix"]
        reader = about["facts"].get("reader", "paper")
        first = f"It combines the log-odds of descriptors of movement (x {mix['descriptors']:.2f}) and of "
        if name == "default":
            what = (
                f"{first}how the look of\nthe face changes (x {mix['appearance']:.2f}), made from 68 points, 51 "
                f"expression coefficients and the head's pose, read by `{reader}`, and from\nthe features of the network "
                "`expression`; neither holds a level, and a mirrored track gets the same answer. Beside these two stand two more that also\n"
                "learned from clips without their start; their share is the probability, by movement, that a clip begins in the middle"
            )
        else:
            what = f"{first}an LSTM-PB (x {mix['pb']:.2f}),\nmade from 68 points, read by `{reader}`; no pixels"
        return (
            what,
            "`duchenne train hybrid` (`experiments/ship.py` holds the exact call): both trained separately, then combined by a\n"
            "logistic regression on their predictions for held-out people; for smiles the model `smile` contributes",
        )
    if name == "lstm-pb":
        return (
            "It reads 40 facial points, head pose removed, and the head's movement, at 12.5 frames per second. Five\n"
            "networks predict how the face moves on; the PB vector with which each predicts best is solved for and classified",
            "`duchenne train hybrid`, or alone `duchenne train lstm-pb` (`src/duchenne/recipes/lstm-pb/lstm-pb.toml`): each network\n"
            "leaves out a fifth of the people and is calibrated on them; a sixth shows how much surer their mean is",
        )
    return (
        f"It reads {len(about['names'])} movement descriptors made from 68 facial points; no pixels",
        f"`experiments/ship.py` holds the exact call: {about['members']},\n"
        f"{about['boosters']} boosters, probabilities calibrated on people that the members had not seen",
    )


def card_text(name: str, card: dict[str, Any], about: dict[str, Any]) -> str:
    """CARD.md."""
    rows = "".join(
        f"| {e} | {v['rows']:.0f} | {v['accuracy']:.3f} | {v['auc']:.3f} |\n"
        for e, v in card.get("per_emotion", {}).items()
    )
    table = f"\n| emotion | clips | accuracy | AUC |\n|---|---|---|---|\n{rows}" if rows else ""
    people = "people" if name != "smile" else "groups of people (sex and age; no person is in two)"
    human = (
        f"**Human figure.** {card['human']['text'][0].upper()}{card['human']['text'][1:]}.\n"
        if card["human"]
        else ("**Human figure.** No verifiable one is published for the clips of this table.\n")
    )
    what, how = made(name, about)
    low, high = card["accuracy_interval"]
    alow, ahigh = card["auc_interval"]
    return f"""# Model card: `{name}`

**What it does.** Estimates whether an expression moves more like the posed or the spontaneous training
clips: {card["title"]}. {what}.

**How it was made.** {how}.

**Data.** {card["data"]}. {card["people"]} {people}, {card["clips"]} clips, {card["genuine"]} of them genuine.

**Accuracy on people it has not seen.** Accuracy {card["accuracy"]:.3f} (95 % by person {low:.3f}–{high:.3f}),
AUC {card["auc"]:.3f} ({alow:.3f}–{ahigh:.3f}), calibration error (ECE, 10 bins) {card["ece"]:.3f}.
Protocol: {card["protocol"]}.
{table}
{human}
**It abstains** for P(genuine) between {card["abstain_band"][0]} and {card["abstain_band"][1]}, a face too small or
lost, a clip too short or too still, or an input unlike the training clips.

**Limits.**

""" + "".join(f"- {limit}\n" for limit in card["limits"])


def tables() -> dict[str, dict[str, str]]:
    """Page → marker → the table between its markers."""
    default, pedfe, uva, sase, cuts = (result(n) for n in ("default", "pedfe", "uva_nemo", "sase_fe", "cuts"))
    runs = result("lstm_pb")
    runs["methods"] |= {"lstm-pb": result("lstm_pb_solved")["methods"]["lstm-pb"]}  # calibrated as a bag
    pb = table(runs, "PEDFE, unseen people, one assignment to 5 folds", "person", LSTM_PB)
    return {
        "README.md": {"headline": headline(default, uva, cuts["human"], result("verdict"))},
        "docs/science/measured.md": {
            "pedfe": pedfe_table(default, result("default_0_1"), pedfe, cuts),
            "emotions": emotion_table(default),
            "cuts": cut_table(cuts),
            "uva": table(uva, "UvA-NEMO, unseen groups of people", "group", UVA),
            "sase": table(sase, "SASE-FE training features", "person", SASE),
            "lstm-pb": pb,
        },
        "docs/lstm-pb.md": {"lstm-pb": pb, "speed": speed_table()},
    }


def pages() -> None:
    """Rewrite the tables of README and the documentation between their markers."""
    for page, parts in tables().items():
        text = (ROOT / page).read_text(encoding="utf-8")
        for name, rows in parts.items():
            text = put(text, name, rows)
        io.write_text(ROOT / page, text)


def speed_table() -> str:
    """Ratios of benchmarks/lstm_pb.json."""
    found = json.loads((ROOT / "benchmarks" / "lstm_pb.json").read_text(encoding="utf-8"))
    kinds = ("paper", "rnnpb", "published-code")
    rows = ["| against the port | " + " | ".join(f"`{kind}`" for kind in kinds) + " |", "|---|---|---|---|"]
    for batch in found["sizes"]["batches"]:
        times = [found["training"][kind][f"batch_{batch}"]["times_naive"] for kind in kinds]
        rows.append(
            f"| learning, {batch} at once: times as many clips | " + " | ".join(f"{t:.1f}" for t in times) + " |"
        )
    shares = [f"{found['recognition'][kind]['share_of_naive']:.2f}" for kind in kinds[:2]]
    rows.append(f"| recognising one clip: share of the time of an iteration | {shares[0]} | {shares[1]} | one step |")
    peak, path, pieces = found["gemm"]["peak"], found["optimisation_path"], found["memory"]["in_pieces"]
    share = [found["training"][kind]["batch_32"]["gflops"] / peak for kind in kinds[:2]]
    rows.append(
        f"| share of the machine's best float32 product, 32 at once | {share[0]:.0%} | {share[1]:.0%} | shared |"
    )
    text = (
        f"\nMemory grows by {found['memory']['mb_per_frame']:.2f} MB a frame; a clip of {pieces['frames']} frames is trained on in "
        f"pieces of {pieces['piece']} in {pieces['peak_mb']:.0f} MB. A batch of 32 reaches {path['ratio_at_equal_time']:.2f} times "
        f"the loss of one at a time in equal time, and {path['ratio_at_equal_sequences']:.1f} times in equal passes.\n"
    )
    return "\n".join(rows) + "\n" + text


def put(text: str, name: str, table: str) -> str:
    """Replace the text between the markers of `name`."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    if not re.search(pattern, text, re.DOTALL):
        raise SystemExit(f"There are no markers for {name} in the text.")
    return re.sub(pattern, lambda m: m[1] + table + m[2], text, flags=re.DOTALL)


def spread(s: dict[str, Any], key: str) -> str:
    """A figure with its interval."""
    interval = s.get(f"{key}_interval")
    return f"{s[key]:.3f}" + (f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else "")


BASELINES = {
    "first frame": "baseline: shape in the first frames",
    "peak intensity": "baseline: peak intensity",
    "clip length": "baseline: clip length",
    "identity": "baseline: the person's mean",
    "majority": "baseline: majority",
}
PEDFE = {
    "descriptors": "descriptors alone (nested; mean of five assignments, as below)",
    "boosting:dynamics": "one booster, not given its own emotion estimate",
    "boosting:dynamics+activity": "… and facial activity descriptors",
    "boosting:activity": "facial activity descriptors alone",
    "rank-svm:activity": "… rank SVM for pairs, linear SVM for single clips",
    "boosting:uncut": "nothing that reads the clip's first or last frames",
    "boosting:movement": "movement only: no levels, no ends",
    "boosting:face": "face only, no head movement",
    "boosting:head": "head movement only",
    **BASELINES,
}
UVA = {
    "smile": "**smile** (nested)",
    "extra-trees": "75 raw descriptors, extra-trees",
    "boosting": "… boosting",
    "linear-svm": "… linear SVM",
    **{key: text for key, text in BASELINES.items() if key != "first frame"},
    "identity": "baseline: the group's mean",
}
LSTM_PB = {
    "default:dynamics": "**default-0.1**: both of the next two, mixed",
    "descriptors": "descriptors",
    "lstm-pb": "**LSTM-PB `solved`** (ours)",
    "lstm-pb:paper": "LSTM-PB `paper`, logistic regression on PB",
    "lstm-pb:experiments/recipes/boosting.toml": "… boosting on PB",
    "lstm-pb:experiments/recipes/paper-10.toml": "… boosting, 10 jittered copies",
    "lstm-pb:experiments/recipes/head.toml": "… with the head's movement",
    "lstm-pb:experiments/recipes/per-emotion.toml": "… a network per emotion",
    "lstm-pb:rnnpb": "LSTM-PB `rnnpb`",
    "lstm-pb:experiments/recipes/rnnpb-10.toml": "… boosting, 10 jittered copies",
    "lstm-pb:published-code": "LSTM-PB `published-code`",
    "lstm-pb:experiments/recipes/code-10.toml": "… boosting, 10 jittered copies",
    "lstm-pb:experiments/recipes/code-100.toml": "… boosting, 100 jittered copies",
    **BASELINES,
}
TASKS = {
    "table-binary": "small network, genuine or posed only",
    "table-single": "small network, twelve classes (single task)",
    "table-multi": "small network, two heads (multi-task)",
    "two-stage:linear-svm": "two stages, a linear SVM per emotion",
    "conditioned:linear-svm": "one linear SVM, given the predicted emotion",
}
SASE = {
    "linear-svm": "linear SVM",
    "rank-svm": "rank SVM (single clips: the linear SVM)",
    "boosting": "boosting",
    "extra-trees": "extra-trees",
    **TASKS,
    "identity": BASELINES["identity"],
    "majority": BASELINES["majority"],
}


def headline(pedfe: dict[str, Any], uva: dict[str, Any], human: dict[str, Any], whole: dict[str, Any]) -> str:
    """The first screen's figures."""
    d, s = pedfe["methods"]["default"]["score"], uva["methods"]["smile"]["score"]
    whole, there = whole["views"], [its for name, its in whole["rates"].items() if "calibrated" not in name]
    right = [
        f"**{its['right'][0]:.1%}** of the {its['answered'][0]:.0%} it answers" for its in (*whole.values(), *there)
    ]
    return (
        "| on people it has not seen | duchenne | people |\n|---|---|---|\n"
        f"| PEDFE, six emotions, {d['rows'] - d['unanswered']:.0f} clips of {d['persons']:.0f} people: accuracy, one clip | "
        f"**{d['accuracy']:.1%}** ({d['accuracy_interval'][0]:.1%}–{d['accuracy_interval'][1]:.1%}) | "
        f"{human['single_rater_accuracy']:.1%} (a single rater) |\n"
        f"| the same: AUC | **{d['auc']:.3f}** | {human['crowd_auc']:.3f} (mean of the whole crowd of raters) |\n"
        f"| the whole verdict, from the raw clip: right | {right[0]} | – |\n"
        f"| the same where the clip's first quarter is cut away | {right[1]} | – |\n"
        f"| the same where the clip starts with 1.5 s of rest more | {right[2]} | – |\n"
        f"| the same in another place than it learned in: PEDFE at 24–25 and at 30 frames/s | {right[-2]}, {right[-1]} | – |\n"
        f"| UvA-NEMO, {s['rows']:.0f} smiles: accuracy | **{s['accuracy']:.1%}** "
        f"({s['accuracy_interval'][0]:.1%}–{s['accuracy_interval'][1]:.1%}) | – |\n"
    )


def table(run: dict[str, Any], head: str, unit: str, names: dict[str, str]) -> str:
    """The named methods of an evaluation."""
    pairs = "forced pairs" if unit == "person" else f"forced pairs of one {unit}"
    rows = [f"| {head} | accuracy (95 % by {unit}) | AUC | {pairs} | ECE |", "|---|---|---|---|---|"]
    return "\n".join([*rows, *(row(words, run["methods"][key]["score"]) for key, words in names.items())]) + "\n"


def row(words: str, s: dict[str, Any]) -> str:
    """One method."""
    return f"| {words} | {spread(s, 'accuracy')} | {spread(s, 'auc')} | {s['forced_pairs']:.3f} | {s['ece']:.3f} |"


def pedfe_table(ours: dict[str, Any], before: dict[str, Any], run: dict[str, Any], cuts: dict[str, Any]) -> str:
    """Every method on PEDFE, with the default's abstention and the human figures."""
    default, human = ours["methods"]["default"], cuts["human"]
    lines = table(run, "PEDFE, unseen people", "person", PEDFE).splitlines()
    answered, given = default["answered"], cuts["methods"]["descriptors, told the emotion"]
    without = cuts["methods"]["descriptors"]
    first = [
        row(
            f"**default**, raw clips (nested; {ours['repeats']} assignments to {ours['folds']} folds)", default["score"]
        ),
        f"| default, only where it does not abstain, answers {answered['coverage']:.0%} | {answered['accuracy']:.3f} | {answered['auc']:.3f} | – | – |",
        row(
            "**default-0.1**, points alone, public clips (nested; one assignment to ten folds)",
            before["methods"]["default:dynamics"]["score"],
        ),
        row(f"descriptors, given the emotion (other folds; {without['accuracy']:.3f} without)", given),
    ]
    last = [
        f"| people: a single rater | {human['single_rater_accuracy']:.3f} | – | – | – |",
        f"| people: mean of the whole crowd | – | {human['crowd_auc']:.3f} | – | – |",
    ]
    return "\n".join([*lines[:2], *first, *lines[2:], *last]) + "\n"


def emotion_table(run: dict[str, Any]) -> str:
    """The default model per emotion."""
    rows = ["| default, per emotion | clips | accuracy | AUC |", "|---|---|---|---|"]
    for emotion, s in run["methods"]["default"]["score"]["per_emotion"].items():
        rows.append(f"| {emotion} | {s['rows']:.0f} | {spread(s, 'accuracy')} | {spread(s, 'auc')} |")
    return "\n".join(rows) + "\n"


def cut_table(run: dict[str, Any]) -> str:
    """The effect of cutting the clips on three families."""
    cuts = ("whole", "start_0.2s_cut", "ends_cut_0-25%", "start_30%_cut", "rest_1.5s_before")
    heads = (
        "as cut by PEDFE",
        "first 0.2 s gone",
        "up to 25 % of each end gone",
        "first 30 % gone",
        "1.5 s of rest before",
    )
    rows = ["| AUC (accuracy) | " + " | ".join(heads) + " |", "|---|" + "---|" * len(cuts)]
    for family, words in (
        ("descriptors", "descriptors"),
        ("uncut", "blind to the ends"),
        ("movement", "movement only"),
    ):
        whole = "descriptors" if family == "descriptors" else f"{family} | whole"
        cells = [run["methods"][whole if cut == "whole" else f"{family} | {cut}"] for cut in cuts]
        rows.append(f"| {words} | " + " | ".join(f"{s['auc']:.3f} ({s['accuracy']:.3f})" for s in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", action="store_true")
    if not parser.parse_args().texts:
        train()
    cards()
    pages()
