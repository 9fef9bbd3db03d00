"""The texts and figures of experiments/expression.py: tables of docs/expression.md and docs/science/measured.md, and the model's card."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from duchenne import checkpoints, io, plots
from duchenne.plots import expression as pictures

BENCH = Path(__file__).parents[1] / "benchmarks" / "expression.json"
PAPER = ("Breuer & Kimmel, as they report", 0.721, 0.005)
LIMITS = [
    "It says how a face looks to the people who labelled pictures of the web, not what the person feels.",
    "Not for lie or credibility detection, hiring, schooling, policing, border control, insurance or medical use.",
    "The EU AI Act, Art. 5(1)(f), forbids inferring emotions at work and in education.",
    "Learnt from single grey pictures of 48×48 pixels that were found by words: posed stock photographs, actors, memes.",
    "Contempt and disgust are rare in them: few of each are found again.",
    "Untested: ages, skin tones, facial palsy, neurodivergence, occluded faces; FER2013 does not tell who is seen.",
]


def spread(s: dict[str, Any], key: str = "accuracy") -> str:
    low, high = s[f"{key}_interval"]
    return f"{100 * s[key]:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def headline(found: dict[str, Any]) -> str:
    """Ours beside the network before it and the paper's."""
    test, model = found["public_test"], found["model"]
    rows = [
        "| FER2013's public test, images as published | majority of the votes, eight emotions (95 %) | macro F1 | … of seven | FER2013's own labels |",
        "|---|---|---|---|---|",
        line(
            f"**`expression`** ({model['weights'] / 1e6:.1f} million weights, {model['bytes'] / 1e6:.1f} MB), with flips",
            test["flips"],
            is_ours=True,
        ),
        line("… without flips", test["plain"]),
    ]
    words = {"exact": "equal in all pixels", "near": "the same photograph, cropped or lit differently"}
    for kind, how in words.items():
        if (leaks := found["leaks"][kind])["accuracy_without"] is not None:
            score = {"accuracy": leaks["accuracy_without"], "accuracy_interval": leaks["accuracy_interval_without"]}
            its = f"… without the {leaks['test_images']} images that are also in training ({how})"
            rows.append(f"| {its} | {spread(score)} | – | – | – |")
    if "before" in found:
        rows.append(line("the network of version 0.1 (FER2013's own labels of equalised copies)", found["before"]))
    if "paper" in found:
        its = found["paper"]
        rows.append(
            line(
                f"the paper's network, as far as it came: {len(its['rows'])} epochs on equalised copies",
                its["public_test"],
            )
        )
    rows.append(
        f"| {PAPER[0]} (their own split, FER2013's own labels) | – | – | – | {100 * PAPER[1]:.1f} % ± {100 * PAPER[2]:.1f} |"
    )
    return "\n".join(rows) + "\n"


def line(words: str, scores: dict[str, Any], is_ours: bool = False) -> str:
    """A network's row; one of seven emotions has no figure for eight, and one of equalised copies none for votes."""
    bold, first, seven = "**" if is_ours else "", "– | –", "–"
    if "votes" in scores:
        votes, seven = scores["votes"], spread(scores["votes_seven"])
        if len(votes["classes"]) > len(scores["votes_seven"]["classes"]):
            first = f"{bold}{spread(votes)}{bold} | {votes['uf1']:.3f}"
    return f"| {words} | {first} | {seven} | {spread(scores['own'])} |"


def class_table(found: dict[str, Any]) -> str:
    """Per class, with the most common error."""
    score = found["public_test"]["flips"]["votes"]
    rows = ["| emotion | images | recall | precision | F1 | taken most often for |", "|---|---|---|---|---|---|"]
    for i, (name, s) in enumerate(score["per_class"].items()):
        row = np.array(score["confusion"][i], float)
        row[i] = -1
        other = f"{score['classes'][int(row.argmax())]} ({row.max() / s['rows']:.0%})" if s["rows"] else "–"
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
    sentence = f"A further temperature would be {c['temperature']['all']:.2f}. {verdict}: log loss {c['log_loss_change']:+.4f} (95 % {low:+.4f} to {high:+.4f})."
    flips = found["public_test"]["flips"]
    votes = (
        f"The cross-entropy to the votes is {flips['cross_entropy']:.3f}, before the temperature of training "
        f"{found['cross_entropy_before_temperature']:.3f}; raters' own division leaves {flips['entropy_of_votes']:.3f}."
    )
    return "\n".join(rows) + f"\n\n{sentence} {votes}\n"


def label_table(found: dict[str, Any]) -> str:
    """Label noise."""
    exact, close = found["doubles"]["exact"], found["doubles"]["near"]
    rows = ["| what FER2013's own labels are worth | equal in all pixels | the same photograph |", "|---|---|---|"]
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
    sentence = f"They are the majority's for {found['own_labels_are_the_majoritys']:.1%} of the {found['agreed_images']:,} images on which half of the raters agree."
    return "\n".join(rows) + f"\n\n{sentence}\n"


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
    score = flips["votes"]
    facts = {
        "title": "eight emotions, one face in one picture",
        "data": "FER2013 (Goodfellow et al. 2013, arXiv:1307.0414; research use), its training images as published, with the votes of FER+ (Barsoum et al. 2016, arXiv:1608.01041; MIT)",
        "images": found["train_images"],
        "people": None,
        "human": None,
        "protocol": found["protocol"],
        **{key: score[key] for key in ("accuracy", "accuracy_interval", "uf1", "uar", "per_class")},
        "accuracy_own_labels": flips["own"]["accuracy"],
        "cross_entropy": flips["cross_entropy"],
        "ece": found["calibration"]["as_answered"]["ece"],
        "limits": LIMITS,
    }
    io.write_json(folder / "card.json", facts)
    text = f"""# Model card: `{model["id"]}`

**What it does.** Predicts which of eight emotions a face shows: {", ".join(score["classes"])}. It reads one grey image of 48×48
pixels, cropped as in FER2013, and gives for each the probability that most raters would name it. A second set of outputs
predicts FER2013's own label of seven (`duchenne emotions --second`).

**How it was made.** `duchenne train expression --recipe votes`, recipe in `model.json`; {model["weights"]:,} weights, stored in half
precision. It learns how ten raters divide; its probabilities were then sharpened by a temperature, on training images that
were held back, to those of the majority.

**Data.** {facts["data"]}. {found["train_images"]:,} images of unidentified people.

**Accuracy.** {found["protocol"][0].upper()}{found["protocol"][1:]}: {found["agreed_images"]:,} of {found["test_images"]:,}. ECE {facts["ece"]:.3f}.

{headline(found)}
{class_table(found)}
**Human figure.** No verifiable one is published for these images. {found["own_labels_are_the_majoritys"]:.1%} of FER2013's own labels are what most of FER+'s raters say.

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
    figures, score = root / "docs" / "expression", found["public_test"]["flips"]["votes"]
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
