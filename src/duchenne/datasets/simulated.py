"""Data sets of simulated smiles with known truth, for tests, documentation and load tests.

Smiles are drawn from the distributions of posed and spontaneous ones (`kinematics.draw`), people have individual faces
and traits (`people`). They test mechanics and are no evidence about people: a model trained on the same public table
knows these smiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from duchenne import io
from duchenne import video as videos
from duchenne.datasets import simulate
from duchenne.datasets.kinematics import SmileKinematics, draw
from duchenne.datasets.manifest import NEEDED
from duchenne.datasets.people import Person, someone
from duchenne.errors import UsageError
from duchenne.progress import Tick
from duchenne.types import LABELS, Array, FaceTrack

#: Columns of the manifest beyond those that every manifest has. onset, apex and offset are when these begin and
#: smile_end when the last one ends, in seconds from the start of the clip; amplitude in lip widths; speed and
#: offset_speed the largest ones in lip widths per second; hidden_from and hidden_to seconds, empty if all is seen.
TRUTH = (
    *("onset", "apex", "offset", "smile_end", "amplitude", "speed", "offset_speed", "asymmetry"),
    *("hidden_from", "hidden_to", "note"),
)
_PER_FILE = 200  # tracks: some tens of megabytes
_HIDDEN = 0.3  # share of a corrupt clip in which no face is seen


@dataclass(frozen=True, eq=False)
class _Clip:
    """A planned clip: `hidden` are the seconds between which no face is seen, None where all is."""

    name: str
    label: str
    person: Person
    kin: SmileKinematics
    seed: int
    hidden: tuple[float, float] | None


def data_set(
    folder: str | Path,
    *,
    people: int,
    clips: int,
    rate: float,
    seed: int,
    video: bool = False,
    corrupt: float = 0.0,
    on_clip: Tick | None = None,
) -> Path:
    """Make a data set of `people` with `clips` each, half of them posed, and return its manifest.

    Writes manifest.csv (with the truth: `TRUTH`), and face tracks in tracks_001.npz and on, 200 in a file, or one
    .mp4 per clip with `video`. `rate` in frames per second. Equal arguments give equal files; a person's clips do
    not depend on how many others there are. `corrupt` is the share of clips (each drawn at random) that lose the
    face for three tenths of their length: missing landmarks, black frames. All files appear in
    `folder` at the end or, on any error, none. `on_clip` is called with the clips done. UsageError on invalid numbers,
    OutputError where nothing can be written.
    """
    if people < 1 or clips < 2 or clips % 2:
        raise UsageError(
            f"A data set needs at least 1 person with an even number of clips, half of them posed, found people="
            f"{people} and clips={clips}; choose for example 20 and 4."
        )
    if not 0 <= corrupt <= 1:
        raise UsageError(f"corrupt must be a share of the clips between 0 and 1, found {corrupt}; choose another.")
    if not 0 < rate < np.inf:
        raise UsageError(f"rate must be above 0 frames per second, found {rate}; choose for example 25.")
    if seed < 0:
        raise UsageError(f"seed must be a whole number from 0, found {seed}; choose another.")
    with io.staged(folder) as part:
        planned = _reported(_plan(people, clips, seed, corrupt), on_clip)
        rows = _write_videos(part, planned, rate) if video else _write_tracks(part, planned, rate)
        names = (*NEEDED, *TRUTH)
        cells = ([row.get(name, "") for name in names] for row in rows)
        io.write_text(part / "manifest.csv", io.rows_csv([names, *cells]))
    return Path(folder) / "manifest.csv"


def cast(people: int, seed: int) -> list[Person]:
    """The people of a data set of that `seed`: sim01, sim02, …"""
    digits = max(2, len(str(people)))
    return [someone(np.random.default_rng([seed, i]), f"sim{i:0{digits}d}") for i in range(1, people + 1)]


def _plan(people: int, clips: int, seed: int, corrupt: float) -> Iterator[_Clip]:
    for i, person in enumerate(cast(people, seed), start=1):
        for k in range(clips):
            rng, label = np.random.default_rng([seed, i, k + 1]), LABELS[k % 2]
            kin = draw(label, rng, person)
            start = rng.uniform(0, 1 - _HIDDEN) * kin.duration
            is_corrupt = rng.random() < corrupt
            yield _Clip(
                name=f"{person.name}_{k + 1:0{len(str(clips))}d}",
                label=label,
                person=person,
                kin=kin,
                seed=int(rng.integers(2**31)),
                hidden=(start, start + _HIDDEN * kin.duration) if is_corrupt else None,
            )


def _reported(planned: Iterator[_Clip], on_clip: Tick | None) -> Iterator[_Clip]:
    for done, clip in enumerate(planned, start=1):
        yield clip
        if on_clip:
            on_clip(done)


def _row(path: str, clip: _Clip) -> dict[str, str]:
    kin = clip.kin
    numbers = (*kin.moments, kin.amplitude, kin.max_speed, kin.max_offset_speed, kin.asymmetry, *(clip.hidden or ()))
    truth = {name: f"{value:.4f}" for name, value in zip(TRUTH, numbers, strict=False)}
    known = (path, clip.person.name, "happiness", clip.label)
    return dict(zip(NEEDED, known, strict=True)) | truth | {"note": "simulated"}


def _write_tracks(folder: Path, planned: Iterator[_Clip], rate: float) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    while pack := [(clip, _track(clip, rate)) for clip in islice(planned, _PER_FILE)]:
        file = f"tracks_{len(rows) // _PER_FILE + 1:03d}.npz"
        io.save_tracks(folder / file, [track for _, track in pack])
        rows += [_row(f"{file}#{clip.name}", clip) for clip, _ in pack]
    return rows


def _track(clip: _Clip, rate: float) -> FaceTrack:
    track = simulate.track(clip.kin, rate, clip.seed, person=clip.person)
    points, box = track.points.copy(), track.box.copy()
    note = f"simulated person {clip.person.name}"
    if clip.hidden:
        out = _hidden(track.time, clip.hidden)
        points[out], box[out] = np.nan, np.nan
        note += f", hidden from {clip.hidden[0]:.2f} to {clip.hidden[1]:.2f} s"
    return track.evolve(note, points=points, box=box, source=clip.name)


def _write_videos(folder: Path, planned: Iterator[_Clip], rate: float) -> list[dict[str, str]]:
    rows = []
    for clip in planned:
        videos.write(folder / f"{clip.name}.mp4", _frames(clip, rate), rate)
        rows.append(_row(f"{clip.name}.mp4", clip))
    return rows


def _frames(clip: _Clip, rate: float) -> Iterator[Array]:
    for i, image in enumerate(simulate.frames(clip.kin, rate=rate, seed=clip.seed, person=clip.person)):
        out = clip.hidden is not None and bool(_hidden(np.array([i / rate]), clip.hidden)[0])
        yield np.zeros_like(image) if out else image


def _hidden(time: Array, hidden: tuple[float, float]) -> Array:
    return np.asarray((time >= hidden[0]) & (time < hidden[1]))
