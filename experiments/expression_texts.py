"""The texts and figures of experiments/expression.py: tables of docs/expression.md and docs/science/measured.md, and the model's card."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import checkpoints, io, plots
from duchenne.datasets.fer2013 import CLASSES
from duchenne.plots import expression as pictures

BENCH = Path(__file__).parents[1] / "benchmarks" / "expression.json"
PAPER = ("Breuer & Kimmel, as they report", 0.721, 0.005)
LIMITS = [
    "It says how a face looks to the people who labelled pictures of the web, not what the person feels.",
    "Not for lie or credibility detection, hiring, schooling, policing, border control, insurance or medical use.",
    "The EU AI Act, Art. 5(1)(f), forbids inferring emotions at work and in education.",
    "Learnt from single grey pictures of 48×48 pixels that were found by words: posed stock photographs, actors, memes.",
    "Untested: ages, skin tones, facial palsy, neurodivergence, occluded faces; FER2013 does not tell who is seen.",
]


def spread(s: dict[str, Any], key: str = "accuracy") -> str:
    low, high = s[f"{key}_interval"]
    return f"{100 * s[key]:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def headline(found: dict[str, Any]) -> str:
    """Ours beside the paper's."""
    test, model, near_leaks = found["public_test"], found["model"], found["leaks"]["near"]
    exact, flips = found["leaks"]["exact"], test["flips"]
    rows = [
        "| FER2013, seven emotions, one network, no other data | accuracy (95 %) | macro F1 | UAR |",
        "|---|---|---|---|",
        f"| **`expression`** ({model['weights'] / 1e6:.1f} million weights, {model['bytes'] / 1e6:.1f} MB), public test, "
        f"{flips['rows']:,} images, with flips | **{spread(flips)}** | {flips['uf1']:.3f} | {flips['uar']:.3f} |",
        f"| … without flips | {spread(test['plain'])} | {test['plain']['uf1']:.3f} | {test['plain']['uar']:.3f} |",
    ]
    for leaks, words in (
        (exact, "equal in all pixels"),
        (near_leaks, "the same photograph, cropped or lit differently"),
    ):
        if leaks["accuracy_without"] is not None:
            sentence = f"| … without the {leaks['test_images']} images that are also in training ({words}) | "
            rows.append(
                sentence + f"{spread({k[:-8]: v for k, v in leaks.items() if k.endswith('_without')})} | – | – |"
            )
    if "paper" in found:
        words = f"The paper's network, as far as it came: {len(found['paper']['rows'])} epochs"
        for key, name in (("flips", f"{words}, with flips"), ("plain", "… without flips")):
            its = found["paper"]["public_test"][key]
            rows.append(f"| {name} | {spread(its)} | {its['uf1']:.3f} | {its['uar']:.3f} |")
    rows.append(f"| {PAPER[0]} (their own split) | {100 * PAPER[1]:.1f} % ± {100 * PAPER[2]:.1f} | – | – |")
    return "\n".join(rows) + "\n"


def class_table(found: dict[str, Any]) -> str:
    """Per class, with the most common error."""
    score = found["public_test"]["flips"]
    rows = ["| emotion | images | recall | precision | F1 | taken most often for |", "|---|---|---|---|---|---|"]
    for i, (name, s) in enumerate(score["per_class"].items()):
        row = np.array(score["confusion"][i], float)
        row[i] = -1
        other = f"{CLASSES[int(row.argmax())]} ({row.max() / s['rows']:.0%})" if s["rows"] else "–"
        shares = " | ".join("–" if s[k] is None else f"{s[k]:.3f}" for k in ("recall", "precision", "f1"))
        rows.append(f"| {name} | {s['rows']} | {shares} | {other} |")
    return "\n".join(rows) + "\n"


def trust_table(found: dict[str, Any]) -> str:
    """Calibration, and the effect of a temperature."""
    c = found["calibration"]
    rows = ["| public test, with flips | ECE | log loss | Brier | mean P of the answer |", "|---|---|---|---|---|"]
    for key, words in (("as_answered", "as answered"), ("with_temperature", "with a temperature, cross-validated")):
        s = c[key]
        rows.append(f"| {words} | {s['ece']:.3f} | {s['log_loss']:.3f} | {s['brier']:.3f} | {s['mean_p']:.3f} |")
    low, high = c["log_loss_change_interval"]
    verdict = "It helps" if c["temperature_helps"] else "It does not help"
    sentence = f"The temperature is {c['temperature']['all']:.2f}. {verdict}: log loss {c['log_loss_change']:+.4f} (95 % {low:+.4f} to {high:+.4f})."
    return "\n".join(rows) + f"\n\n{sentence}\n"


def label_table(found: dict[str, Any]) -> str:
    """Label noise."""
    exact, close, wrong = found["doubles"]["exact"], found["doubles"]["near"], found["looks_wrong"]
    rows = ["| what the labels are worth | equal in all pixels | the same photograph |", "|---|---|---|"]
    lines = (
        ("training photographs that are there several times", "photographs"),
        ("… of these, with labels that differ", "photographs_of_several_labels"),
        ("images of them", "images"),
        ("… whose label is not the commonest of their photograph, so is wrong", "surely_wrong"),
    )
    rows += [f"| {words} | {exact[key]:,} | {close[key]:,} |" for words, key in lines]
    shares = " | ".join(
        "–" if s["share_surely_wrong"] is None else f"{s['share_surely_wrong']:.1%}" for s in (exact, close)
    )
    rows.append(f"| … their share: at least so many labels of these are wrong | {shares} |")
    leaks = [found["leaks"][kind] for kind in ("exact", "near")]
    rows.append(
        "| public-test images that are also in training | " + " | ".join(f"{s['test_images']:,}" for s in leaks) + " |"
    )
    sentence = (
        f"\nFor {wrong['share']:.1%} of the public test the network gives another emotion than the label a probability of at least "
        f"{wrong['p_from']:.0%}; it is that certain for {wrong['sure']:.0%} of all"
    )
    right = f", and right in {wrong['right_where_sure']:.1%} of these" if wrong["right_where_sure"] is not None else ""
    return "\n".join(rows) + f"\n{sentence}{right}.\n"


def size_table(found: dict[str, Any]) -> str:
    """The cost of lower precision."""
    rows = ["| public test, with flips | accuracy | change | answers that change |", "|---|---|---|---|"]
    for key, words in (("half_precision", "weights stored in half precision"), ("bfloat16", "answered in bfloat16")):
        if s := found.get(key):
            share = f"{s['answers_changed']:.2%}"
            words += "" if s.get("is_the_models", True) else " (another state of this training)"
            rows.append(f"| {words} | {s['accuracy']:.2%} | {100 * s['accuracy_change']:+.2f} points | {share} |")
    return "\n".join(rows) + "\n"


def speed_table() -> str:
    """Ratios of benchmarks/expression.json."""
    if not BENCH.is_file():
        return "Not measured yet: `benchmarks/expression.py`.\n"
    found = json.loads(BENCH.read_text(encoding="utf-8"))
    rows = ["| faces per second | plain | ours | times | of the limit |", "|---|---|---|---|---|"]
    for place, part in found["places"].items():
        for kind, words in (("ours", "our network"), ("paper", "the paper's")):
            for batch, ways in part["use"][kind].items():
                rows.append(speed_row(f"{place}: {words}, {batch} at once", ways, "predict"))
            rows.append(speed_row(f"{place}: {words}, learning", part["learning"][kind], "learner"))
    return "\n".join(rows) + "\n"


def speed_row(words: str, ways: dict[str, Any], key: str) -> str:
    plain, ours = ways["plain"], ways[key]
    share = f"{ours['of_limit']:.0%}"
    return f"| {words} | {plain['faces_per_second']:.0f} | {ours['faces_per_second']:.0f} | {ours['times_plain']:.1f} | {share} |"


def put(text: str, name: str, table: str) -> str:
    """Replace the text between the markers of `name`; a text without them is unchanged."""
    return re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: m[1] + table + m[2], text, flags=re.DOTALL)


def card(found: dict[str, Any], folder: Path) -> None:
    """card.json and CARD.md of the shipped network."""
    flips, model = found["public_test"]["flips"], found["model"]
    facts = {
        "title": "seven emotions, one face in one picture",
        "data": "FER2013 (Goodfellow et al. 2013, arXiv:1307.0414), its training images; research use",
        "images": found["train_images"],
        "people": None,
        "human": None,
        "protocol": found["protocol"],
        **{key: flips[key] for key in ("accuracy", "accuracy_interval", "uf1", "uar", "per_class")},
        "ece": found["calibration"]["as_answered"]["ece"],
        "limits": LIMITS,
    }
    io.write_json(folder / "card.json", facts)
    text = f"""# Model card: `{model["id"]}`

**What it does.** Predicts which of seven emotions a face shows: {", ".join(CLASSES)}. It reads one grey
image of 48×48 pixels, cropped as in FER2013, and gives a probability for each.

**How it was made.** `duchenne train expression`, recipe in `model.json`; {model["weights"]:,} weights, stored in half precision.

**Data.** {facts["data"]}. {found["train_images"]:,} images of unidentified people.

**Accuracy.** {found["protocol"][0].upper()}{found["protocol"][1:]}.

{headline(found)}
{class_table(found)}
**Human figure.** No verifiable one is published for these images.

**Limits.**

""" + "".join(f"- {limit}\n" for limit in LIMITS)
    io.write_text(folder / "CARD.md", text)


def write(found: dict[str, Any], root: Path) -> None:
    """Fill the texts below `root` from the JSON, draw the figures, and write the card of the shipped network."""
    page, parts = (
        root / "docs" / "expression.md",
        {"expression": headline(found), "expression-classes": class_table(found)},
    )
    parts |= {"expression-trust": trust_table(found), "expression-labels": label_table(found)}
    parts |= {"expression-size": size_table(found), "expression-speed": speed_table()}
    for path in (page, root / "docs" / "science" / "measured.md"):
        text = path.read_text(encoding="utf-8")
        for name, table in parts.items():
            text = put(text, name, table)
        io.write_text(path, text)
    figures, score = root / "docs" / "expression", found["public_test"]["flips"]
    made = {"confusion": pictures.confusion(score["classes"], score["confusion"])}
    c = found["calibration"]
    made["certainty"] = pictures.certainty(
        {
            words: c[key]["bins"]
            for key, words in (("as_answered", "as answered"), ("with_temperature", "with a temperature"))
        }
    )
    if "learning" in found:
        curves = {found["model"]["kind"]: found["learning"]["rows"]}
        if "paper" in found:
            curves["paper"] = found["paper"]["rows"]
        made["learning"] = pictures.training(curves, reference=PAPER[:2])
    for name, figure in made.items():
        plots.save(figure, figures / name)[1].unlink()  # the page shows the SVG
    if (shipped := checkpoints.shipped().get(found["model"]["id"])) is not None:
        card(found, shipped)
