"""Groups of descriptors that a model went by: names, what is named, and what trembling alone would do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from duchenne import checkpoints
from duchenne.datasets import simulate
from duchenne.learn.calibration import sigmoid
from duchenne.tabular import groups
from duchenne.tabular.model import APPEARANCE, column_names


@pytest.mark.parametrize(
    ("column", "group"),
    [
        ("lip_corner_pull.rise", "mouth"),
        ("nose_to_lip.depth", "mouth"),
        ("mouthFrown_asymmetry.larger.rise", "mouth"),
        ("eyeSquint.speed_max_quick", "eyes"),
        ("lower_lid_height.rise", "eyes"),
        ("browInnerUp.rise", "brows"),
        ("brow_to_lid.rise", "brows"),
        ("cheekSquint.rise", "cheeks"),
        ("yaw.larger.rise", "head"),
        ("head_size.rise", "head"),
        ("eyeSquint.first_median", "ends"),
        ("head_x.smaller.last_low", "ends"),
        ("look 3.rise", "look"),
        ("emotion.fear", "emotion"),
        ("onset_duration_full", "onset"),
        ("smile_duration_total", "smile"),
    ],
)
def test_every_descriptor_has_a_group(column: str, group: str) -> None:
    assert groups.group_of(column) == group


def test_groups_of_all_families_have_names() -> None:
    for family in ("dynamics+activity", "mesh-relative", "smile", APPEARANCE):
        assert set(groups.columns(column_names(family))) <= set(groups.GROUPS)


def test_a_pull_is_the_mean_change_from_typical_clips_and_the_unknown_has_none() -> None:
    model = checkpoints.load("descriptors")[0]
    (row,) = model.table([simulate.track(simulate.POSED, 25.0, seed=1)])
    found = groups.pulls(model, row)
    index = [i for i, name in enumerate(model.names) if groups.group_of(name) == "mouth"]
    z = float(model.fitted.logit(model.inputs(row[None]))[0])
    changes = []
    for quartiles in model.typical.values():
        for typical in quartiles:
            held = model.inputs(row[None]).copy()
            held[0, index] = typical[index]
            changes.append(z - float(model.fitted.logit(held)[0]))
    assert found["mouth"] == (pytest.approx(np.mean(changes)), 0.0)
    row[index] = np.nan
    assert "mouth" not in groups.pulls(model, row) and "eyes" in found


def test_only_what_changes_the_verdict_beyond_trembling_is_named() -> None:
    found = {"mouth": (0.8, 0.1), "eyes": (-0.5, 0.6), "brows": (0.05, 0.0), "head": (-0.15, 0.0)}
    items = groups.evidence(found, 0.4)
    assert [item.feature for item in items] == ["Mouth", "Head"] and all(item.descriptor is None for item in items)
    assert [item.value for item in items] == pytest.approx(sigmoid(np.array([0.4 - 0.8, 0.4 + 0.15])))
    assert items[0].text == "53% of what counted; P(genuine) without it: 0.40."
    assert groups.evidence({"head": (-0.15, 0.0)}, 6.0) == ()  # P(genuine) stays what it is
    assert groups.scaled(found, -2)["mouth"] == (-1.6, 0.2)


def test_copies_tremble_as_much_as_the_track() -> None:
    track = simulate.track(replace(simulate.POSED, head_motion=0.0), 25.0, seed=1, jitter=0.5)
    copies = groups.copies(track, 2)
    added = np.stack([copy.points - track.points for copy in copies])
    assert added.std() == pytest.approx(0.5, rel=0.3)
    still = replace(track, points=np.repeat(track.points[:1], len(track), axis=0))
    np.testing.assert_array_equal(groups.copies(still, 1)[0].points, still.points)
    short = replace(track.take("two frames", np.arange(2)))
    np.testing.assert_array_equal(groups.copies(short, 1)[0].points, short.points)
