"""Simulated data sets: their files against their own truth, their mechanics through the shipped smile expert."""

import csv
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from duchenne import checkpoints, io, metrics, video
from duchenne.datasets import kinematics, manifest, simulated, splits
from duchenne.datasets.simulated import cast, data_set
from duchenne.errors import OutputError, UsageError
from duchenne.features import smile
from duchenne.features.descriptors import prepare


def truth(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Manifest of 20 people with 12 clips each: 240 tracks, so two files."""
    return data_set(tmp_path_factory.mktemp("many"), people=20, clips=12, rate=25.0, seed=0)


def tracks_of(path):
    kept = {t.source: t for t in io.load_tracks(path.parent)}
    return [kept[clip.path.partition("#")[2]] for clip in manifest.read(path)]


def test_a_data_set_is_balanced_and_every_row_has_its_track(many):
    clips, rows = manifest.read(many), truth(many)
    assert sorted(p.name for p in many.parent.iterdir()) == ["manifest.csv", "tracks_001.npz", "tracks_002.npz"]
    assert len(clips) == 240 and len({clip.subject for clip in clips}) == 20
    for subject in {clip.subject for clip in clips}:
        labels = [clip.label for clip in clips if clip.subject == subject]
        assert labels.count("posed") == labels.count("genuine") == 6
    assert {(c.emotion, c.start, c.end) for c in clips} == {("happiness", None, None)}
    assert {r["note"] for r in rows} == {"simulated"} and clips[0].subject == "sim01"
    for clip in clips:
        file, source = manifest.split_path(clip.path)
        assert Path(file).is_file() and source.startswith(clip.subject)
    for number, name in ((0, "tracks_001.npz"), (199, "tracks_001.npz"), (200, "tracks_002.npz")):
        assert rows[number]["path"].startswith(name)
        assert rows[number]["path"].endswith("#" + tracks_of(many)[number].source)


def test_tracks_move_as_their_row_states(many):
    found = []
    for row, track in zip(truth(many)[:60], tracks_of(many), strict=False):
        onset, apex, offset, end = (float(row[name]) for name in ("onset", "apex", "offset", "smile_end"))
        assert 0 < onset < apex < offset < end < track.duration
        numbers, phase = smile.describe(prepare(track, 50.0)[0])
        top = float("nan") if phase is None or phase.apex is None else phase.apex
        found.append([numbers["onset_net_amplitude"], numbers["onset_maximum_speed_positive"], top - apex])
    meant = np.array([[float(row["amplitude"]), float(row["speed"])] for row in truth(many)[:60]])
    ratio = np.array(found)[:, :2] / meant
    assert np.nanmedian(ratio, axis=0) == pytest.approx([1.0, 1.0], rel=0.15)
    seen = np.isfinite(found).all(axis=1)
    assert seen.mean() > 0.9 and np.corrcoef(np.log(meant[seen].T), np.log(np.array(found)[seen, :2].T))[0, 2] > 0.9
    # the plateau starts at 92 % of the rise, which a slow creep reaches before its end
    assert -1.0 < np.nanmedian(np.array(found)[:, 2]) < 0.05


def test_equal_seeds_give_equal_files_and_more_people_change_no_one(tmp_path):
    first, again, more, other = (
        data_set(tmp_path / name, people=people, clips=2, rate=10.0, seed=seed)
        for name, people, seed in (("a", 2, 5), ("b", 2, 5), ("c", 3, 5), ("d", 2, 6))
    )
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    for one, two, three in zip(tracks_of(first), tracks_of(again), tracks_of(more), strict=False):
        assert np.array_equal(one.points, two.points) and np.array_equal(one.points, three.points)
    assert truth(more)[:4] == truth(first)


def test_people_have_their_own_faces_and_two_clips_of_one_share_theirs(tmp_path):
    tracks = tracks_of(data_set(tmp_path, people=6, clips=4, rate=25.0, seed=1))
    faces = [np.nanmedian(prepare(track, 25.0)[0].points[:10], axis=0) for track in tracks]
    width = np.array([face[54, 0] - face[48, 0] for face in faces]).reshape(6, 4)
    assert width.mean(axis=1).std() > 3 * width.std(axis=1).mean()
    shapes = np.array([person.shape[5] for person in cast(6, 1)])
    assert np.corrcoef(width.mean(axis=1), shapes)[0, 1] > 0.98


def test_corrupt_clips_lose_the_face_where_the_manifest_says(tmp_path):
    path = data_set(tmp_path, people=10, clips=4, rate=25.0, seed=0, corrupt=0.5)
    rows, tracks = truth(path), tracks_of(path)
    spoilt = [bool(row["hidden_from"]) for row in rows]
    assert 10 <= sum(spoilt) <= 30  # of 40; outside has a chance of one in a thousand
    for row, track, hidden in zip(rows, tracks, spoilt, strict=True):
        assert np.array_equal(np.isnan(track.box).all(axis=1), ~track.seen)
        if hidden:
            a, b = float(row["hidden_from"]), float(row["hidden_to"])
            inside, outside = (track.time > a + 1e-3) & (track.time < b - 1e-3), (track.time < a) | (track.time > b)
            assert not track.seen[inside].any() and track.seen[outside].all()
            assert inside.mean() == pytest.approx(0.3, abs=0.03)
        else:
            assert track.seen.all()
    every = truth(data_set(tmp_path / "all", people=1, clips=2, rate=25.0, seed=0, corrupt=1.0))
    assert all(row["hidden_from"] for row in every)


@pytest.mark.slow
def test_videos_show_the_same_smiles_and_black_where_hidden(tmp_path, monkeypatch):
    brief = kinematics.SmileKinematics(0.4, 0.2, 0.4, 0.2, neutral_before=0.2, neutral_after=0.2)
    monkeypatch.setattr(simulated, "draw", lambda *_: brief)  # whole smiles would take a minute
    path = data_set(tmp_path / "v", people=1, clips=2, rate=10.0, seed=0, video=True, corrupt=1.0)
    rows = truth(path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["manifest.csv", "sim01_1.mp4", "sim01_2.mp4"]
    for row in rows:
        frames = list(video.frames(path.parent / row["path"]))
        assert len(frames) == round(brief.duration * 10) == 14
        dark = np.array([frame.bgr.mean() < 5 for frame in frames])
        time = np.array([frame.time for frame in frames])
        hidden = (time >= float(row["hidden_from"]) - 1e-3) & (time < float(row["hidden_to"]) - 1e-3)
        assert np.array_equal(dark, hidden) and 3 <= dark.sum() <= 5


def test_the_smile_expert_judges_left_out_people_better_than_chance(many):
    """Mechanics only: the expert learned from the table whose spreads these smiles are drawn from."""
    clips = manifest.read(many)
    y, who = np.array([clip.label == "genuine" for clip in clips], int), [clip.subject for clip in clips]
    p = checkpoints.load("smile")[0].predict_proba(tracks_of(many))[:, 1]
    folds = [metrics.auc(p[test], y[test]) for _, test in splits.by_person(who, 5, seed=0)]
    assert len(folds) == 5 and min(folds) > 0.55
    assert metrics.permutation_p(metrics.auc, p, y, who, n=200) < 0.01


def test_invalid_arguments_raise_and_write_nothing(tmp_path):
    good = {"people": 2, "clips": 2, "rate": 25.0, "seed": 0}
    wrong = ({"people": 0}, "at least 1 person"), ({"clips": 3}, "even number"), ({"clips": 0}, "even number")
    wrong += ({"rate": 0.0}, "rate must"), ({"rate": float("nan")}, "rate must"), ({"seed": -1}, "seed must")
    wrong += ({"corrupt": 1.5}, "between 0 and 1"), ({"corrupt": float("nan")}, "between 0 and 1")
    for change, sentence in wrong:
        with pytest.raises(UsageError, match=sentence):
            data_set(tmp_path / "x", **(good | change))
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError):
        data_set(tmp_path / "file", **good)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_truth_is_the_kinematics_that_were_drawn(tmp_path):
    rows = truth(data_set(tmp_path, people=1, clips=2, rate=10.0, seed=4))
    person = cast(1, 4)[0]
    for k, row in enumerate(rows):
        kin = kinematics.draw(row["label"], np.random.default_rng([4, 1, k + 1]), person)
        assert [float(row[n]) for n in ("onset", "apex", "offset", "smile_end")] == pytest.approx(kin.moments, abs=1e-4)
        assert float(row["amplitude"]) == pytest.approx(kin.amplitude, abs=1e-4)
        assert float(row["speed"]) == pytest.approx(kin.max_speed, abs=1e-4) and len(astuple(kin)) == 13
