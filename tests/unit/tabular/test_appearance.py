"""How a face looks, relative to itself, as one row per clip."""

import numpy as np
import pytest

from duchenne import io, pipeline, video
from duchenne.batch.apply import apply
from duchenne.clips import crops, load, rows
from duchenne.clips.cache import Cache
from duchenne.datasets import simulate
from duchenne.faces import join
from duchenne.judging import load_model
from duchenne.learn.calibration import logit
from duchenne.tabular import appearance
from duchenne.tabular.appearance import NAMES, STATISTICS, WIDTH, Appearance
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Clip


def row(values, statistic):
    return values[STATISTICS.index(statistic) * WIDTH :][:WIDTH]


def looks(track, reader, crops=None):
    """The frames of a track that the reader reads, with crops."""
    at = reader.rows(track)
    made = np.random.default_rng(0).integers(0, 255, (len(at), 48, 48, 1), np.uint8) if crops is None else crops
    return track.take("crops", at, made)


@pytest.fixture(scope="module")
def moving():
    return simulate.track(simulate.KINDS["genuine"], 25.0, seed=3)


def test_statistics_of_a_ramp_are_those_computed_by_hand():
    time = np.array([0.0, 0.1, 0.2, 0.4, 0.5])
    values = np.zeros((5, WIDTH))
    values[:, 7] = [0, 1, 2, 4, 5]  # 10 per second
    values[:, 9] = -values[:, 7]
    found = appearance.describe(time, values)
    assert found.shape == (len(NAMES),) == (len(STATISTICS) * WIDTH,)
    assert NAMES[STATISTICS.index("rise") * WIDTH + 7] == "look 7.rise"
    assert row(found, "spread")[7] == pytest.approx(np.std([0, 1, 2, 4, 5]))
    assert row(found, "rise")[7] == pytest.approx(2.8) and row(found, "depth")[7] == pytest.approx(1.8)
    assert row(found, "first_median")[7] == pytest.approx(1 - 2) and row(found, "last_first")[7] == pytest.approx(8 / 3)
    assert row(found, "last_first")[9] == pytest.approx(-8 / 3)
    for statistic in ("speed_mean", "speed_max"):  # whatever the steps in time are
        assert row(found, statistic)[[7, 9, 0]] == pytest.approx([np.log(10.001), np.log(10.001), np.log(0.001)])


def test_a_level_of_the_person_or_the_light_does_not_count():
    rng = np.random.default_rng(0)
    time, values = np.arange(9) / 10, rng.normal(size=(9, WIDTH))
    moved = values + rng.normal(size=WIDTH)
    np.testing.assert_allclose(appearance.describe(time, moved), appearance.describe(time, values), atol=1e-9)


def test_it_reads_ten_frames_a_second_that_show_the_face(moving):
    reader = Appearance()
    at = reader.rows(moving)
    steps = np.diff(moving.time[at])
    assert at[0] == 0 and steps.min() >= 0.1 - 5e-4 and steps.max() <= 0.1 + 1 / 25
    points = moving.points.copy()
    points[:10] = np.nan
    assert reader.rows(moving.evolve("hidden", points=points))[0] == 10


def test_a_mirrored_face_looks_the_same():
    crops = np.random.default_rng(0).integers(0, 255, (4, 48, 48), np.uint8)
    found = appearance.look(crops)
    assert found.shape == (4, WIDTH) and np.ptp(found, axis=0).max() > 0.01
    np.testing.assert_array_equal(appearance.look(np.ascontiguousarray(crops[:, :, ::-1])), found)


def test_rows_come_from_crops_during_the_movement_and_nothing_without_them(moving):
    model = DescriptorModel.of_family("appearance")
    reader = model.reader
    assert reader == Appearance() and reader.crop_readers == (reader,) and reader.is_optional
    assert np.isnan(model.table([moving])).all() and model.table([moving]).shape == (1, len(NAMES))
    asked = []

    def cut(i, sample, each):
        asked.append((i, each))
        return looks(sample, each)

    found = reader.with_cutter(cut).table([moving, moving.take("short", np.arange(5))])
    assert asked[0] == (0, reader) and np.isfinite(found[0]).all() and np.isnan(found[1]).all()
    # rest before the movement is not read
    rest = np.flatnonzero(moving.time < moving.time[0] + 0.3)
    crops = np.asarray(looks(moving, reader).crops).copy()
    crops[: np.isin(reader.rows(moving), rest).sum()] = 0
    again = reader.with_cutter(lambda i, sample, each: looks(sample, each, crops)).table([moving])
    start = appearance.span(appearance.prepare(moving, 25.0)[1], 25.0)[0]
    assert start > 0.4 and np.array_equal(again[0], found[0])


def test_crops_of_the_reader_of_faces_are_those_cut_from_the_file(smile, tmp_path):
    """In use a verdict reads the crops that the reader of faces cut, in training those cut from the video again."""
    kept, reader = Cache(tmp_path), Appearance()
    found = join(kept.read_faces(smile), str(smile))
    track, own = found.tracks[0], found.looks[0]
    again = crops.cut(track, video.frames(smile), reader)
    np.testing.assert_array_equal(again.time, own.time)
    np.testing.assert_array_equal(again.crops, own.crops)
    clip = Clip(str(smile))
    table = rows.table([clip], [load.read(clip, kept.read_faces)], reader, kept)
    direct = reader.with_cutter(lambda *_: own).table([track])
    np.testing.assert_array_equal(table, direct)
    assert np.isfinite(table).all()


def test_the_default_judges_tracks_without_images_by_their_movement(smile, tmp_path):
    (seen,) = pipeline.examine(smile)
    assert any("the face's look x" in step for step in seen.verdict.history)
    assert any(item.feature == "Look of the face" for item in seen.verdict.evidence)
    loaded = load_model("default")
    blind = pipeline.judge(seen.track, loaded)
    assert any("descriptors alone" in step for step in blind.verdict.history) and blind.p_raw != seen.p_raw
    row = loaded.descriptors.table([seen.track])
    late = loaded.model.detector.predict_table(row)[0, 1]
    pairs = ((loaded.model.whole, 1 - late), (loaded.model.late, late))
    alone = sum(share * logit(pair.descriptors.predict_table(row)[0, 1]) for pair, share in pairs)
    share = loaded.smile_share
    expert = loaded.smile.fitted.logit(loaded.smile.table([seen.track]))[0]
    z = (1 - share) * alone + share * expert
    assert blind.p_raw == pytest.approx(1 / (1 + np.exp(-z)), abs=0.02)  # but for the emotion, which it was not told
    io.save_tracks(tmp_path / "one.npz", [seen.track])
    (row,) = apply("default", tmp_path / "one.npz").itertuples()
    assert row.p_raw == pytest.approx(blind.p_raw, abs=1e-6)
