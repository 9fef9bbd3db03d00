"""The texts of experiments/units.py: tables of docs/units.md, and the model's card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from duchenne import io

PAGE = Path(__file__).parents[1] / "docs" / "units.md"
FIRST = ("AU06", "AU12")
#: F1 per unit of py-feat 2's Detectorv2 on DISFA+ (57,150 frames, intensity from 2, threshold 0.5), as its authors publish
#: it: https://huggingface.co/datasets/py-feat/benchmarks.
PYFEAT = {
    "AU01": 0.7837, "AU02": 0.5674, "AU04": 0.7079, "AU05": 0.5788, "AU06": 0.5858, "AU09": 0.8252, "AU12": 0.5590,
    "AU15": 0.6490, "AU17": 0.2816, "AU20": 0.0119, "AU25": 0.6682, "AU26": 0.2563,
}  # fmt: skip
PART = {
    "coefficients": "52 coefficients", "points": "68 points", "look": "look (gradients of the crop)",
    "points coefficients": "points and coefficients", "points coefficients look": "**all three, as shipped**",
    "network": "features of the expression network", "points coefficients look network": "all three, and these",
}  # fmt: skip
SHOWN = ("AU06", "AU12", "AU07", "AU09", "AU10", "AU14", "AU15", "AU23", "AU24")


def tables(found: dict[str, Any]) -> dict[str, str]:
    """Name → table, as on the page."""
    return {
        "units": by_unit(found),
        "parts": by_part(found),
        "peers": beside(found),
        "smiles": smiles(found),
        "emotions": by_emotion(found),
        "light": in_light(found),
    }


def write_tables(found: dict[str, Any]) -> None:
    """Put the tables on the page."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in tables(found).items():
        text = re.sub(
            f"<!-- {name} -->.*?<!-- /{name} -->",
            lambda _, n=name, t=table: f"<!-- {n} -->\n{t}<!-- /{n} -->",
            text,
            flags=re.S,
        )
    io.write_text(PAGE, text)


def joined(rows: list[list[str]]) -> str:
    rows = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(row)} |\n".replace("| --- ", "|---").replace("|--- |", "|---|") for row in rows)


def spread(value: list[float], digits: int = 3) -> str:
    return f"{value[0]:.{digits}f} ({value[1]:.{digits}f}–{value[2]:.{digits}f})".replace("-", "−")


def by_unit(found: dict[str, Any]) -> str:
    head = ["unit", "AUC (95 %)", "F1 (95 %)", "F1, always", "base rate", "people", "ECE", "neutral faces", "shipped"]
    return joined([head] + [
        [name, spread(u["auc"]), spread(u["f1"], 2), f"{u['f1_always']:.2f}", f"{u['base_rate']:.2f}", str(u["people"]),
         f"{u['ece']:.3f}", alarms(u), "yes" if u["shipped"] else "**no**"]
        for name, u in found["units"].items()
    ])  # fmt: skip


def alarms(unit: dict[str, Any]) -> str:
    """Share of neutral faces taken for showing a unit, and by a model that learned from none."""
    return "{:.0f} % ({:.0f} %)".format(*(100 * share for share in unit["false_alarms"]))


def by_part(found: dict[str, Any]) -> str:
    parts = found["parts"]
    rows = [["AUC", f"mean of {len(found['units'])}", *SHOWN]]
    for part, name in PART.items():
        rows.append([name, f"{parts[part]['mean']:.3f}", *(f"{parts[part][unit]:.3f}" for unit in SHOWN)])
    return joined(rows)


def beside(found: dict[str, Any]) -> str:
    rows = [["unit", "`units`: F1 on CK+, people left out", "F1, always", "py-feat 2: F1 on DISFA+"]]
    for name in sorted(PYFEAT):
        unit = found["units"][name]
        own = f"{unit['f1'][0]:.2f}" + ("" if unit["shipped"] else " (not shipped)")
        rows.append([name, own, f"{unit['f1_always']:.2f}", f"{PYFEAT[name]:.2f}"])
    return joined(rows)


def smiles(found: dict[str, Any]) -> str:
    told = found["pedfe"]["smiles"]
    rows = [["", "highest second and intensity: ρ", "rise and intensity: ρ", "genuine or posed: AUC"]]
    for name in FIRST:
        for how, words in (("as read", name), ("relative", f"{name}, `--neutral lowest`")):
            row = told[f"{name} {how}"]
            rows.append([words, *(spread(row[key], 2) for key in ("intensity", "intensity, rise", "genuine_auc"))])
    return joined(rows)


def by_emotion(found: dict[str, Any]) -> str:
    table = found["pedfe"]["lowest_highest"]
    rows = [["lowest → highest second", *found["shipped"]]]
    for emotion, units in table.items():
        rows.append([emotion, *(f"{low:.2f} → {high:.2f}" for low, high in units.values())])
    return joined(rows)


def in_light(found: dict[str, Any]) -> str:
    changes = {name: row for name, row in found["light"].items() if name != "clips"}
    rows = [["mean change of the probability", *found["shipped"]]]
    return joined(rows + [[name, *(f"{value:.2f}" for value in row.values())] for name, row in changes.items()])


def limits(found: dict[str, Any]) -> list[str]:
    missing = ", ".join(name for name in found["units"] if name not in found["shipped"])
    turn, dark = (found["light"][name] for name in ("turned by 10°", "darker (× 0.35)"))
    return [
        "Learnt from posed, frontal, grey pictures of 48×48 pixels of young adults; CK+ codes the peak, so that a faint "
        "unit counts for little, and the probability is not an intensity.",
        f"Not good enough to be shipped: {missing}. Units that fewer than ten people of CK+ show are not known at all.",
        "A unit comes with its fellows in posed faces: AU06 with AU12, AU01 with AU02, AU25 with AU27. One alone is less "
        "certain than these figures say.",
        f"A head that is turned or a dark picture moves it: a turn of 10° in the picture changes AU06 by "
        f"{turn['AU06']:.3f} and AU12 by {turn['AU12']:.3f} on average, light × 0.35 by {dark['AU06']:.3f} and "
        f"{dark['AU12']:.3f}. Heads turned away from the camera were not measured.",
        "In spontaneous and posed clips of PEDFE units other than AU06, AU12 and AU25 are rarely found, AU04 hardly even in "
        "anger: a low probability does not say that a unit is absent.",
        "AU06 and AU12 occur in posed smiles as well; they do not tell genuine from posed.",
        "Not for lie or credibility detection, hiring, schooling, policing, border control, insurance or medical use.",
    ]


def card(facts: dict[str, Any], found: dict[str, Any]) -> str:
    smiles = found["pedfe"]["smiles"]
    rows = [
        f"| {name} | {u['auc'][0]:.3f} ({u['auc'][1]:.3f}–{u['auc'][2]:.3f}) | {u['f1'][0]:.2f} | {u['f1_always']:.2f} "
        f"| {u['base_rate']:.2f} | {u['people']} | {u['ece']:.3f} | {alarms(u)} | {'yes' if u['shipped'] else '**no**'} |"
        for name, u in found["units"].items()
    ]
    rho = {name: smiles[f"{name} as read"]["intensity"] for name in FIRST}
    said = " and ".join(f"{name} {r[0]:.2f} ({r[1]:.2f} to {r[2]:.2f})" for name, r in rho.items())
    return f"""# Model card: `units`

**What it does.** Gives the probability of each action unit (FACS) in a face: from its 68 points and 52 coefficients, as the
mesh reads them, and a crop of 48×48 grey pixels. A mirrored face gets the same answer.

**How it was made.** `experiments/units.py`: three ridge regressions per unit, added and calibrated on people left out. Every
face was read {found["variants"]} times: as it is, darker, and with random size, turn, light and noise.

**Data.** {facts["data"]}. {found["faces"]} pictures of {found["people"]} people of CK+, and {found["neutral"]} of FER2013 that at
least nine of FER+'s ten raters call neutral, which count as showing no unit; no picture is in the package.

**Accuracy.** {facts["protocol"][0].upper()}{facts["protocol"][1:]}. AUC with its 95 % interval over people; F1 at a threshold of
the training people, beside F1 of always predicting the unit; the share of faces with it; the people who show it; the
calibration error; the share of neutral faces of FER2013 that are taken for showing it, in brackets by a model that
learned from none.

| unit | AUC (95 %) | F1 | F1, always | base rate | people | ECE | neutral faces | shipped |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

**Beyond CK+.** On {smiles["clips"]} clips of happiness of {smiles["people"]} people (PEDFE), the rank correlation of the highest
second with the raters' intensity is {said}.

**Human figure.** None for these pictures.

**Limits.**

{chr(10).join(f"- {limit}" for limit in facts["limits"])}
"""
