"""Phases and action units as a project of BORIS (.boris), one observation per clip, beside the coder's own.

The format is that of Friard & Gamba (2016), project version 7.0. BORIS opens or imports a project whole; from
a spreadsheet it imports one observation at a time, and only where its behaviours were entered before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from duchenne.tables.elan import STRETCHES, Interval
from duchenne.types import Json

#: Behaviour → its intervals in seconds of the file, of one face.
Behaviours = Mapping[str, Sequence[Interval]]
_NO_MODIFIER = ""


def project(clips: Mapping[str, tuple[str, Mapping[str, Behaviours]]], date: str) -> Json:
    """The content of a .boris file; `date` in ISO 8601.

    clips  name of an observation → the path of its clip, which BORIS also looks for beside the project, and face → its
           tiers, as `elan.tiers` makes them: of `phases`, rise, plateau and fall are behaviours; other tiers are
           behaviours themselves, with the value as comment. All are state events: a row where one starts, a row
           where it stops.
    """
    faces = [{name: _behaviours(tiers) for name, tiers in each.items()} for _, each in clips.values()]
    subjects = sorted({name for each in faces for name in each})
    seen = {code for each in faces for behaviours in each.values() for code in behaviours}
    codes = [*(name for name in STRETCHES if name in seen), *sorted(seen.difference(STRETCHES))]
    return {
        "time_format": "seconds",
        "project_date": date,
        "project_name": "duchenne",
        "project_description": "Measured by duchenne: phases, the span that was judged, and likely action units.",
        "project_format_version": "7.0",
        "subjects_conf": {str(i): {"key": "", "name": name, "description": ""} for i, name in enumerate(subjects)},
        "behaviors_conf": {str(i): _behaviour(code) for i, code in enumerate(codes)},
        "observations": {
            name: _observation(path, found, date) for (name, (path, _)), found in zip(clips.items(), faces, strict=True)
        },
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }


def _behaviours(tiers: Behaviours) -> dict[str, list[Interval]]:
    found: dict[str, list[Interval]] = {}
    for tier, intervals in tiers.items():
        for start, end, value in intervals:
            code, comment = (value, "") if tier == "phases" else (tier, value)
            found.setdefault(code, []).append((start, end, comment))
    return found


def _behaviour(code: str) -> Json:
    about = {"type": "State event", "key": "", "code": code, "description": "", "color": "", "category": ""}
    return about | {"modifiers": {}, "excluded": "", "coding map": ""}


def _observation(path: str, faces: Mapping[str, Behaviours], date: str) -> Json:
    events = [
        [round(time, 3), face, code, _NO_MODIFIER, text]
        for face, behaviours in faces.items()
        for code, intervals in behaviours.items()
        for start, end, comment in intervals
        for time, text in ((start, comment), (end, ""))
    ]
    return {
        "file": {str(player): [path] if player == 1 else [] for player in range(1, 9)},
        "type": "MEDIA",
        "date": date,
        "description": "",
        "time offset": 0.0,
        "events": sorted(events, key=lambda event: event[0]),
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "close_behaviors_between_videos": False,
        # BORIS measures the length and the rate of a file that has none here, when it opens the observation.
        "media_info": {"length": {}, "fps": {}, "offset": {"1": 0.0}},
    }
