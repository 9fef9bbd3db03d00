"""The kinematics of a smile: its parameters, its curve, and random draws of posed and spontaneous smiles.

Durations, speeds and amplitudes are those of the public UvA-NEMO smile descriptors (Dibeklioğlu, Salah & Gevers,
"Are you really smiling at me?", ECCV 2012, and "Recognition of genuine smiles", IEEE Transactions on Multimedia
17(3), 2015): medians in `KINDS`, spreads and correlations in `draw`. The rest is measured on the happy clips of
PEDFE (Miolla, Cardaioli & Scarpazza, Behavior Research Methods 55, 2023). All are aggregates over hundreds of smiles,
made by experiments/smile_kinematics.py; nothing is tuned to a classifier.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaln

from duchenne.datasets.people import Person, own_pull, someone
from duchenne.errors import UsageError
from duchenne.types import Array

_LIMITS = {"onset": (0.05, 60.0), "apex": (0.0, 600.0), "offset": (0.05, 60.0), "amplitude": (0.0, 0.34)}
_LIMITS |= {"neutral_before": (0.0, 600.0), "neutral_after": (0.0, 600.0), "fluctuation": (0.0, 1.0)}
_LIMITS |= {"peak": (1.9, 20.0), "asymmetry": (-1.0, 1.0), "lid": (0.0, 0.5), "head_motion": (0.0, 5.0)}
_LIMITS |= {"unrest": (0.0, 5.0), "offset_peak": (1.9, 20.0)}
_MAX_RISE = 0.38  # lip widths of one lip corner; beyond, the portrait would fold beside the mouth


@dataclass(frozen=True)
class SmileKinematics:
    """The kinematics of one smile. Durations in seconds, `amplitude` in lip widths of the neutral face.

    `amplitude` is the rise of Dibeklioğlu's D(t) = (|c₀−r| + |c₀−l|) / (2|r₀−l₀|) with r, l the lip corners
    and c₀ their midpoint in the first frame. `peak` is largest over mean speed of the onset, `offset_peak` of
    the offset. `fluctuation` is the share of the amplitude that sags in the middle of the apex. `asymmetry`
    (−1 to 1) gives the lip corner on the right of the image more and the other less, the mean unchanged.
    `lid` is the share of the eye opening that the lower lid takes beyond the usual narrowing of the eyes.
    `head_motion` and `unrest` scale how the head moves, and how brows and jaw stir (1: the medians of real
    clips). UsageError on impossible values.
    """

    onset: float
    apex: float
    offset: float
    amplitude: float
    neutral_before: float = 1.0
    neutral_after: float = 0.8
    peak: float = 5.0
    offset_peak: float = 5.0
    fluctuation: float = 0.04
    asymmetry: float = 0.0
    lid: float = 0.0
    head_motion: float = 1.0
    unrest: float = 1.0

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(
                    f"SmileKinematics.{name} must lie between {low:g} and {high:g}, found "
                    f"{getattr(self, name)!r}; choose another value."
                )
        if self.amplitude * (1 + abs(self.asymmetry)) > _MAX_RISE:
            raise UsageError(
                f"SmileKinematics.amplitude times 1 + |asymmetry| must not exceed {_MAX_RISE:g}, found "
                f"{self.amplitude:g} and {self.asymmetry:g}; choose a smaller or more even smile."
            )

    @property
    def duration(self) -> float:
        """Length of a clip of this smile in seconds, with its neutral beginning and end."""
        return self.neutral_before + self.onset + self.apex + self.offset + self.neutral_after

    @property
    def max_speed(self) -> float:
        """Largest onset speed in lip widths per second."""
        return self.peak * self.amplitude / self.onset

    @property
    def max_offset_speed(self) -> float:
        """Largest offset speed in lip widths per second."""
        return self.offset_peak * self.amplitude / self.offset

    @property
    def moments(self) -> tuple[float, float, float, float]:
        """Seconds from the start of the clip at which onset, apex and offset begin and the offset ends."""
        onset = self.neutral_before
        apex = onset + self.onset
        return onset, apex, apex + self.apex, apex + self.apex + self.offset


#: In their tracks `features.smile.describe` finds the medians of 462 spontaneous and 501 posed smiles. Finding phases
#: takes 0.6 s of rest, so the fastest movement comes 0.4 s later than in PEDFE's closely cut clips.
SPONTANEOUS = SmileKinematics(
    onset=1.37, apex=1.3, offset=1.95, amplitude=0.139, neutral_before=0.6, peak=7.6, offset_peak=7.9,
    fluctuation=0.11, asymmetry=0.1,
)  # fmt: skip
POSED = SmileKinematics(
    onset=0.75, apex=1.0, offset=1.25, amplitude=0.167, neutral_before=0.6, peak=5.6, offset_peak=7.9,
    fluctuation=0.05, asymmetry=0.1,
)  # fmt: skip
KINDS = {"genuine": SPONTANEOUS, "posed": POSED}
#: A slow smile, by one standard deviation (`SPREADS`) of its three durations, and small, by .6 of its amplitude, after
#: a second of rest; and a wide one, by one of its amplitude. `duchenne demo` shows these, as the default model does not
#: decide on the medians.
CLEAR = {
    "genuine": replace(SPONTANEOUS, onset=2.38, apex=2.65, offset=3.38, amplitude=0.1, neutral_before=1.0),
    "posed": replace(POSED, amplitude=0.256),
}

_CREEP = 0.5  # share of a rise that is a slow minimum-jerk creep; fits the tables' spread of speeds
_MAX_DRAWS = 1_000

#: What is drawn, in this order. Seconds, lip widths and lip widths per second; the last three as in SmileKinematics.
QUANTITIES = (
    *("onset", "apex", "offset", "amplitude", "speed", "offset_speed"),
    *("asymmetry", "head_motion", "unrest"),
)
#: Standard deviations of the first six's logs in the UvA-NEMO table: half the distance from the 16th to the
#: 84th percentile, which is robust to smiles with wrong phases.
SPREADS = {"posed": (0.43, 0.613, 0.416, 0.428, 0.526, 0.604), "genuine": (0.552, 0.713, 0.549, 0.549, 0.6, 0.637)}
#: Their correlations, upper triangle row by row.
CORRELATIONS = {
    "posed": (0, 0.04, 0.14, -0.17, -0.01, -0.17, -0.04, -0.03, -0.12, -0.05, -0.05, -0.21, 0.78, 0.58, 0.5),
    "genuine": (0.2, 0.33, 0.21, -0.14, -0.07, 0.22, 0.02, -0.04, -0.05, 0.19, 0.01, -0.09, 0.77, 0.44, 0.42),
}
#: Standard deviations of asymmetry, and of the logs of head motion and unrest, over happy clips of PEDFE.
OTHER_SPREADS = (0.155, 0.715, 0.61)
#: Share of the variance between people in PEDFE's happy clips: of a smile's six numbers (median share), asymmetry,
#: head motion and unrest.
BETWEEN = (0.17, 0.24, 0.13, 0.33)


def _burst_exponent(peak: float) -> float:
    """Exponent n of the speed u^n (1−u)^n whose sum with the creep has `peak` as largest over mean speed."""

    def excess(n: float) -> float:
        return float(_CREEP * 1.875 + (1 - _CREEP) * np.exp(-n * np.log(4) - betaln(n + 1, n + 1)) - peak)

    return float(brentq(excess, 2.0, 1500.0))


def _rise(time: Array, duration: float, peak: float) -> Array:
    """float64 (T,): 0 before, 1 after `duration`, second derivative continuous; burst on creep."""
    u, n = np.clip(time / duration, 0.0, 1.0), _burst_exponent(peak)
    return np.asarray(_CREEP * betainc(3, 3, u) + (1 - _CREEP) * betainc(n + 1, n + 1, u))


def smile_curve(kin: SmileKinematics, time: Array) -> Array:
    """Lip-corner pull in lip widths, float64 (T,), for `time` in seconds from the start of the clip.

    Zero while neutral and `kin.amplitude` at both ends of the apex; never negative, with continuous second
    derivative. Like the tables' smiles it is a burst on a slow creep: the largest speed, in the middle of
    onset and of offset, is `kin.peak` and `kin.offset_peak` times the mean one.
    """
    t = np.asarray(time, np.float64) - kin.neutral_before
    up = _rise(t, kin.onset, kin.peak)
    down = _rise(t - kin.onset - kin.apex, kin.offset, kin.offset_peak)
    u = np.clip((t - kin.onset) / kin.apex, 0.0, 1.0) if kin.apex else np.zeros_like(t)
    sag = kin.fluctuation * 64.0 * (u * (1 - u)) ** 3
    return np.asarray(kin.amplitude * (up - down - sag))


def draw(kind: str, rng: np.random.Generator, person: Person | None = None) -> SmileKinematics:
    """A random "genuine" or "posed" smile of `person` (None: of a new person).

    The six numbers of the smile are log-normal about `KINDS[kind]`, whose tracks measure as the table's medians do,
    with the table's spreads and correlations. A person's traits are shared by all that person's smiles and make up
    the share `BETWEEN` of each variance. Values outside the limits of SmileKinematics, and smiles too wide for the
    portrait, are drawn again; peak speeds (one offset in ten) and the asymmetry of the widest smiles are clipped
    instead, as the other numbers would shift otherwise. UsageError on an unknown kind, and for a person too far from
    the mean to smile like this.
    """
    if kind not in KINDS:
        raise UsageError(f"There is no simulated smile '{kind}'; choose one of: {', '.join(KINDS)}.")
    centre, traits = KINDS[kind], (person or someone(rng)).traits
    typical = (centre.onset, centre.apex, centre.offset, centre.amplitude, centre.max_speed, centre.max_offset_speed)
    share, factor = np.array([BETWEEN[0]] * 6 + list(BETWEEN[1:])), _factor(kind)
    for _ in range(_MAX_DRAWS):
        z = factor @ (np.sqrt(share) * traits + np.sqrt(1 - share) * rng.standard_normal(len(traits)))
        onset, apex, offset, amplitude, speed, offset_speed = np.exp(np.log(typical) + z[:6]).tolist()
        shown = amplitude if person is None else max(amplitude, float(own_pull(np.array(amplitude), person)))
        if shown > _MAX_RISE:
            continue
        uneven = _MAX_RISE / shown - 1 - 1e-9
        try:
            return replace(
                centre,
                onset=onset,
                apex=apex,
                offset=offset,
                amplitude=amplitude,
                peak=float(np.clip(speed * onset / amplitude, *_LIMITS["peak"])),
                offset_peak=float(np.clip(offset_speed * offset / amplitude, *_LIMITS["offset_peak"])),
                asymmetry=float(np.clip(z[6], -uneven, uneven)),
                head_motion=float(np.exp(z[7])),
                unrest=float(np.exp(z[8])),
            )
        except UsageError:
            continue
    raise UsageError(
        f"The traits of {(person.name if person else '') or 'this person'} allow no smile; use smaller ones."
    )


def _factor(kind: str) -> Array:
    """float64 (9, 9): from independent standard normal numbers to deviations of `QUANTITIES`."""
    matrix = np.eye(len(QUANTITIES))
    matrix[np.triu_indices(6, 1)] = CORRELATIONS[kind]  # rows 0 to 5 of columns 0 to 5
    matrix = np.triu(matrix) + np.triu(matrix, 1).T
    spread = np.array([*SPREADS[kind], *OTHER_SPREADS])
    return np.asarray(spread[:, None] * np.linalg.cholesky(matrix))
