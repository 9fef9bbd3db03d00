"""What a FACS reader looks at: measures of smiles that are known, and sentences beside the middle halves of people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duchenne import limits
from duchenne.datasets import simulate
from duchenne.features import signs as measured
from duchenne.features.descriptors import prepare
from duchenne.features.phases import ACTIVITY, main_phase, phases
from duchenne.report import signs
from duchenne.types import EMOTIONS, LABELS, Phase, Sign, Signals

KIN = replace(simulate.POSED, onset=0.5, apex=1.0, offset=0.7, amplitude=0.2)
SMILE = {"happiness": 1.0}


@pytest.fixture(scope="module")
def curves() -> Signals:
    return prepare(simulate.track(KIN, 50.0), 50.0)[1]


def _curves(**values: np.ndarray) -> Signals:
    time = np.arange(len(next(iter(values.values())))) * 0.02
    return Signals(time, np.column_stack([*values.values()]), tuple(values), ("iod",) * len(values))


def _units(curves: Signals, **levels: float) -> Signals:
    values = np.tile([*levels.values()], (len(curves.time), 1))
    return Signals(curves.time, values, tuple(levels), ("0-1",) * len(levels))


def test_a_simulated_smile_is_measured_as_it_was_made(curves: Signals) -> None:
    main = main_phase(phases(curves), curves)
    assert main is not None and main.onset is not None and main.apex is not None
    found = measured.measure(curves, main)
    # a rise begins and ends at shares of its height, so it is shorter than the movement, and the plateau longer
    assert 0.3 * KIN.onset < found["rise"] < KIN.onset and 0.3 * KIN.offset < found["fall"] < KIN.offset
    assert KIN.apex < found["plateau"] < KIN.apex + KIN.onset + KIN.offset
    inside = (curves.time >= main.onset) & (curves.time <= main.apex)
    rising = np.diff(curves["lip_corner_pull"][inside]).max() * 50 * 100
    assert 0.3 * rising < found["speed"] <= 1.1 * rising  # smoothing takes off a part of the raw curve's fastest step
    assert found["peaks"] == 1 and np.isnan(found["eyes"])


def test_sides_lids_order_and_peaks_are_those_of_the_curves() -> None:
    time = np.arange(0, 4, 0.02)
    mouth, eyes = (np.interp(time, [start, start + 0.4, 3.0, 3.4], [0, 1, 1, 0]) for start in (1.0, 0.8))
    twice = mouth - 0.5 * np.exp(-0.5 * ((time - 2.2) / 0.1) ** 2)
    curves = _curves(
        lip_corner_pull=1 + 0.2 * twice, lip_pull_asymmetry=0.02 * mouth, eye_aperture=0.2 - 0.05 * eyes,
        lower_lid_height=0.05 * eyes,
    )  # fmt: skip
    found = measured.measure(curves, Phase(1.0, 1.4, 3.0, 3.4, "lip_corner_pull"))
    assert found["uneven"] == pytest.approx(2.0, abs=0.1) and found["lids"] == pytest.approx(
        100 * 0.025 / 0.175, abs=0.1
    )  # at onset the lids are half way
    assert found["order"] == pytest.approx(-0.2, abs=0.03) and found["peaks"] == 2
    cut = measured.measure(curves, Phase(None, None, 3.0, 3.4, "lip_corner_pull"))
    assert np.isnan([cut[name] for name in ("rise", "plateau", "speed", "order", "peaks")]).all()
    assert cut["fall"] == pytest.approx(0.4)


def test_sentences_stand_beside_both_kinds_of_people_and_the_unknown_leans_nowhere(
    curves: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {
        label: {"clips": 40, "people": 9, "quantiles": q}
        for label, q in zip(LABELS, ([0.2, 0.3, 0.4], [0.6, 0.7, 0.8]), strict=True)
    }
    known = {"all": both | {"auc": 0.9, "interval": [0.8, 0.95]}}
    known["happiness"] = known["all"]
    monkeypatch.setattr(signs, "table", lambda: {"lip_corner_pull": {"rise": known, "height": known}, ACTIVITY: {}})

    def rise(seconds: float) -> Sign:
        phase = Phase(0.8, 0.8 + seconds, 2.3, 3.0, "lip_corner_pull")
        return next(sign for sign in signs.signs(curves, phase, SMILE) if sign.name == "rise")

    slow = rise(0.7)
    assert (
        slow.text
        == "The lip corners rose in 0.70\u00a0s, slower than 3 of 4 posed smiles and like half of the spontaneous ones."
    )
    assert slow.leans == "genuine" and slow.posed_range == (0.2, 0.4)
    assert rise(0.1).leans == "posed" and "faster than 3 of 4 smiles of both kinds" in rise(0.1).text
    assert rise(0.5).leans is None  # between the two
    known["happiness"] = both | {"auc": 0.52, "interval": [0.45, 0.6]}
    assert rise(0.7).leans is None  # where the two do not differ
    found = {sign.name: sign for sign in signs.signs(curves, Phase(None, None, 2.3, 3.0, "lip_corner_pull"), SMILE)}
    assert found["rise"].text == "Unknown: the rise is not seen." and found["rise"].value is found["rise"].leans is None
    assert found["eyes"].text == "Unknown: action units were not read."
    assert signs.signs(curves, None, SMILE) == ()


def test_eyes_join_where_both_units_are_likely_and_other_emotions_have_their_own_units(curves: Signals) -> None:
    phase = Phase(0.8, 1.3, 2.3, 3.0, "lip_corner_pull")

    def eyes(cheeks: float, lips: float) -> str:
        found = signs.signs(curves, phase, SMILE, _units(curves, AU06=cheeks, AU12=lips))
        return next(sign.text for sign in found if sign.name == "eyes")

    assert (
        "so the eyes joined" in eyes(0.9, 0.9)
        and "did not join" in eyes(0.2, 0.9)
        and "hardly a smile" in eyes(0.2, 0.1)
    )
    units = _units(curves, **dict.fromkeys(("AU01", "AU04", "AU15"), 0.3))
    found = signs.signs(curves, replace(phase, curve=ACTIVITY), {"sadness": 1.0}, units)
    assert [sign.name for sign in found if sign.name.startswith("AU")] == ["AU01", "AU04", "AU15"]
    assert "hardly seen" in found[-1].text and "eyes" not in {sign.name for sign in found}


def test_the_shipped_quartiles_are_of_groups_and_name_nobody() -> None:
    found = json.loads(signs.FILE.read_text(encoding="utf-8"))
    assert set(found) == {"clips", "people", "data", "signs"} and found["people"] == 42
    for name in ("rise", "speed", "height", "eyes", "order"):
        assert set(found["signs"]["lip_corner_pull"][name]) >= {"all", "happiness"}
    assert set(found["signs"][ACTIVITY]["height"]) >= {"all", *EMOTIONS} - {"happiness"}
    for kind in found["signs"].values():
        for its in (each for emotions in kind.values() for each in emotions.values()):
            assert set(its) == {*LABELS, "auc", "interval"}
            for label in LABELS:
                assert its[label]["clips"] >= 10 and its[label]["people"] >= 4 and len(its[label]["quantiles"]) == 3


def test_signs_that_lean_against_the_verdict_are_told() -> None:
    def leaning(*sides: str | None) -> list[Sign]:
        return [Sign(name="rise", title="", value=1.0, unit="s", text="", leans=side) for side in sides]

    assert signs.disagreement(leaning("posed", None, "genuine"), "genuine") is None
    said = signs.disagreement(leaning("posed", "posed", "posed", "genuine"), "genuine")
    assert said is not None and "the verdict is spontaneous, but 3 of the 4 signs" in said and said.endswith("posed.")
    assert signs.disagreement(leaning("posed", "posed"), None) is None


def test_durations_are_converted_by_what_was_measured() -> None:
    found = json.loads((Path(__file__).parents[3] / "experiments" / "durations.json").read_text(encoding="utf-8"))
    simulated, tenths = ([its["median"] for its in found[key].values()] for key in ("simulated", "tenths"))
    assert "{:.2f} (rise), {:.2f} (plateau), {:.2f} (fall)".format(*simulated) in limits.DURATIONS
    assert "{:.2f}, {:.2f}, {:.2f} to get that from 10 to 90%".format(*tenths) in limits.DURATIONS
