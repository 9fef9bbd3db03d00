"""The figures and the image of docs/filters.md, from the shipped expression model.

    DUCHENNE_DATA=<folder with data/fer2013/public_test.npz> python experiments/filters_docs.py [--texts]

The image and the table of action units come from rendered faces (`datasets.simulate`, one public-domain portrait warped
into synthetic people who smile), so that no image of a data set is shown. Dead filters and the check by shuffled weights
use 1,000 images of FER2013's public test, drawn once; only numbers are stored. Writes experiments/filters_docs.json,
docs/filters.jpg and the tables in docs/filters.md; with --texts the tables alone. A few minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from duchenne import __version__, checkpoints, io
from duchenne.datasets import people, simulate
from duchenne.datasets.kinematics import smile_curve
from duchenne.expression import filters
from duchenne.expression.filter_units import filter_units
from duchenne.expression.layers import FeatureExtractor
from duchenne.faces import crops
from duchenne.plots.filters import contact_sheet
from duchenne.report import filters_page

HERE = Path(__file__).parent
OUT, PAGE, PICTURE = (
    HERE / "filters_docs.json",
    HERE.parent / "docs" / "filters.md",
    HERE.parent / "docs" / "filters.jpg",
)
PEOPLE, RATE, COUNT, TOP, SHOWN, SEED = 60, 2.5, 1000, 9, 8, 0


def rendered() -> tuple[np.ndarray, np.ndarray]:
    """(faces uint8 (N, 48, 48), AU12 present or absent float (N,)): present at the smile's height, of which one frame in four is
    taken, so that smiles are rarer than rest; frames between are left out."""
    images, labels = [], []
    for i in range(PEOPLE):
        kin = simulate.KINDS[("posed", "genuine")[i % 2]]
        someone = people.someone(np.random.default_rng([SEED, i]))
        frames = simulate.frames(kin, rate=RATE, size=(320, 240), seed=i, person=someone)
        height = smile_curve(kin, np.arange(round(kin.duration * RATE)) / RATE) / kin.amplitude
        high = np.flatnonzero(height > 0.9)
        sampled = {*high[::4].tolist(), *np.flatnonzero(height < 0.05).tolist()}
        for k, picture in enumerate(frames):
            found = crops.find(picture.mean(axis=2).round().astype(np.uint8)) if k in sampled else []
            if found:
                images.append(found[0].crop)
                labels.append(float(k in high))
    return np.stack(images), np.array(labels)


def searched(extractor: FeatureExtractor, layers: list[str], images: np.ndarray) -> dict[str, filters.Excited]:
    batches = (extractor.normalised(images[i : i + 64]) for i in range(0, len(images), 64))
    return filters.search(extractor, layers, batches, n=TOP)


def of_rendered(extractor: FeatureExtractor, layer: str, name: str) -> dict[str, Any]:
    """The image, and the result of the table of action units."""
    images, smiles = rendered()
    found = searched(extractor, [layer], images)[layer]
    units = filter_units(found.image, smiles[:, None], ("AU12",), draws=2000, seed=SEED)
    best = filters_page.order(found)[:SHOWN]
    tiles = filters_page.tiles(found, filters.views_of(extractor, found, best), units)
    note = f"The {SHOWN} strongest of {len(found.active)} filters, on {len(images)} rendered faces."
    with tempfile.TemporaryDirectory() as folder:
        sheet = contact_sheet(Path(folder) / "sheet.png", tiles, f"{name}, layer {layer}", note, across=4, most=3)
        with Image.open(sheet) as image, io.atomic(PICTURE) as part:
            image.convert("RGB").resize((1440, round(1440 * image.height / image.width))).save(part, "JPEG", quality=85)
    unanimous = (units.share[:, 0] == 1) & (units.count[:, 0] == TOP)
    return {
        "layer": layer,
        "faces": len(images),
        "people": PEOPLE,
        "base_rate": float(units.base[0]),
        "filters": len(found.active),
        "dead": int(found.dead.sum()),
        "unanimous": int(unanimous.sum()),
        "by_luck": float(np.nansum(units.luck)),
        "hold_up": int((units.adjusted[:, 0] < 0.05).sum()),
    }


def of_fer2013(extractor: FeatureExtractor, layers: list[str], images: np.ndarray) -> dict[str, Any]:
    """Dead filters and the sanity check: medians and quartiles of the rank correlations."""
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(images))[:COUNT])
    out: dict[str, Any] = {"images": len(chosen), "layers": {}}
    for layer, found in searched(extractor, layers, images[chosen]).items():
        steps = filters.randomise(extractor, found, seed=SEED)
        out["layers"][layer] = {
            "filters": len(found.active),
            "dead": int(found.dead.sum()),
            "stands_out": float(np.nanmedian(found.stands_out)),
            "fires_on": float(np.median(found.active)),
            "checked": len(steps[0].deconvnet),
            "shuffled": [{"down_to": step.layers[-1], **_quartiles(step)} for step in steps],
        }
    return out


def _quartiles(step: filters.Randomised) -> dict[str, Any]:
    kinds = ("deconvnet", "guided", "deconvnet_size", "guided_size")
    return {kind: np.nanquantile(getattr(step, kind), (0.25, 0.5, 0.75)).round(3).tolist() for kind in kinds}


def texts(found: dict[str, Any]) -> None:
    """Write the figures into the page."""
    page = PAGE.read_text(encoding="utf-8")
    fer, seen = found["fer2013"], found["rendered"]
    rows = ["| layer | filters | dead | stand out (median) | fire on (median) |", "|---|---|---|---|---|"]
    for name, each in fer["layers"].items():
        rows.append(
            f"| {name} | {each['filters']} | {each['dead']} | ×{each['stands_out']:.1f} | {each['fires_on']:.0%} |"
        )
    page = _between(page, "filters", rows)
    rows = [
        "| weights shuffled | deconvnet | guided backprop | deconvnet, size | guided backprop, size |",
        "|---|---|---|---|---|",
    ]
    for name, each in fer["layers"].items():
        steps = each["shuffled"]
        for label, step in ((f"of {name} alone", steps[0]), (f"from {name} down to {steps[-1]['down_to']}", steps[-1])):
            cells = [f"{step[kind][1]:.2f}" for kind in ("deconvnet", "guided", "deconvnet_size", "guided_size")]
            rows.append(f"| {label} | {' | '.join(cells)} |")
    page = _between(page, "sanity", rows)
    sentence = (
        f"On {seen['faces']} rendered faces of {seen['people']} synthetic people, {seen['base_rate']:.0%} of which smile, all "
        f"{TOP} top images of {seen['unanimous']} of the {seen['filters']} filters of {seen['layer']} smile "
        f"(chance would give {seen['by_luck']:.2g}); "
        f"{seen['hold_up']} filters are significant after correction."
    )
    PAGE.write_text(_between(page, "units", [sentence]), encoding="utf-8")


def _between(page: str, name: str, lines: list[str]) -> str:
    marks = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    return re.sub(marks, lambda m: m[1] + "\n".join(lines) + "\n" + m[2], page, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", action="store_true", help="only put the figures into the page")
    if not parser.parse_args().texts:
        model, facts = checkpoints.load("expression")
        extractor = FeatureExtractor(model.network)
        layers = extractor.choose(())
        images = np.load(Path(os.environ["DUCHENNE_DATA"]) / "data" / "fer2013" / "public_test.npz")["images"]
        found = {
            "duchenne": __version__,
            "model": {key: facts[key] for key in ("id", "sha256")},
            "top": TOP,
            "seed": SEED,
            "fer2013": of_fer2013(extractor, layers, images),
            "rendered": of_rendered(extractor, layers[-1], facts["id"]),
        }
        io.write_json(OUT, found)
    texts(json.loads(OUT.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
