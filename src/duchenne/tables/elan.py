"""Phases and action units as an annotation file of ELAN (.eaf), beside the coder's own.

The format is that of Brugman & Russel (2004), EAF 3.0; times are milliseconds in the file of the clip.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePath

import numpy as np

from duchenne.preprocess.clean import runs
from duchenne.types import MOMENTS, Array, JsonMap

#: (start, end, value) in seconds.
Interval = tuple[float, float, str]
STRETCHES = ("rise", "plateau", "fall")
LIKELY = 0.5  # probability from which on a unit is marked
_TYPE = "default-lt"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"


def tiers(verdict: JsonMap, curves: Mapping[str, Array]) -> dict[str, list[Interval]]:
    """Tier → its intervals, of one face: `phases`, `judged`, and one per action unit that is likely somewhere.

    verdict  as in verdict.json      curves  columns of its curves.csv, of this face
    """
    shift, end = float(verdict.get("begins") or 0.0), float(verdict["duration"])
    found: dict[str, list[Interval]] = {"phases": [i for p in verdict["phases"] for i in _phase(p, end)]}
    if verdict["judged"]:
        found["judged"] = [(*verdict["judged"], verdict["label"] or "no verdict")]
    for unit in (each for each in curves if each.startswith("AU")):
        if some := list(_likely(curves["time"], curves[unit])):
            found[unit] = some
    return {tier: [(a + shift, b + shift, value) for a, b, value in some] for tier, some in found.items()}


def _phase(phase: JsonMap, end: float) -> Iterator[Interval]:
    """Rise, plateau and fall; one that is cut begins or ends with the clip."""
    known = [phase[name] for name in MOMENTS]
    for stretch, (a, b) in zip(STRETCHES, pairwise(known), strict=True):
        if a is not None or b is not None:
            yield 0.0 if a is None else a, end if b is None else b, stretch


def _likely(time: Array, p: Array) -> Iterator[Interval]:
    for start, stop in runs(np.nan_to_num(p) >= LIKELY):
        if stop - start > 1:
            yield float(time[start]), float(time[stop - 1]), f"{np.max(p[start:stop]):.2f}"


def document(tiers: Mapping[str, Sequence[Interval]], media: str, date: str) -> str:
    """The text of an .eaf; `media` is the file name of the clip, `date` in ISO 8601."""
    ET.register_namespace("xsi", _XSI)
    root = ET.Element("ANNOTATION_DOCUMENT", AUTHOR="duchenne", DATE=date, FORMAT="3.0", VERSION="3.0")
    root.set(f"{{{_XSI}}}noNamespaceSchemaLocation", _SCHEMA)
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    kind = f"video/{PurePath(media).suffix[1:].lower() or 'mp4'}"
    ET.SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=media, MIME_TYPE=kind, RELATIVE_MEDIA_URL=f"./{media}")
    order = ET.SubElement(root, "TIME_ORDER")
    slots = annotations = 0
    for name, intervals in tiers.items():
        tier = ET.SubElement(root, "TIER", LINGUISTIC_TYPE_REF=_TYPE, TIER_ID=name)
        for start, end, value in intervals:
            refs: dict[str, str] = {}
            for which, seconds in (("1", start), ("2", end)):
                slots += 1
                refs[f"TIME_SLOT_REF{which}"] = f"ts{slots}"
                ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=f"ts{slots}", TIME_VALUE=str(round(1000 * seconds)))
            annotations += 1
            holder = ET.SubElement(tier, "ANNOTATION")
            one = ET.SubElement(holder, "ALIGNABLE_ANNOTATION", refs | {"ANNOTATION_ID": f"a{annotations}"})
            ET.SubElement(one, "ANNOTATION_VALUE").text = value
    ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(annotations)
    ET.SubElement(root, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID=_TYPE, TIME_ALIGNABLE="true")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
