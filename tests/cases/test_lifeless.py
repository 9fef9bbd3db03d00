"""Photographs, blends, frames out of order and covered faces hold no expression: no verdict, and the reason why."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from duchenne import pipeline
from duchenne.datasets import simulate
from duchenne.errors import InputError
from duchenne.features import coherence
from duchenne.micro import spotting
from duchenne.types import COEFFICIENTS, FaceTrack
from makers import make_video

RATE = 25
MODEL = pipeline.load_model("default")


def moved(picture, x, y, zoom=1.0, roll=0.0):
    matrix = cv2.getRotationMatrix2D((160.0, 120.0), roll, zoom)
    matrix[:, 2] += (x, y)
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def grain(rng, picture, sigma):
    return (picture + rng.normal(0, sigma, picture.shape)).clip(0, 255).astype(np.uint8)


def reason(path, reader="paper"):
    (analysis,) = pipeline.examine(path, reader=reader)
    assert analysis.verdict.abstained and analysis.verdict.label is None
    return analysis.verdict.reason


def test_a_photo_with_noise_is_not_judged(tmp_path, pictures):
    rng = np.random.default_rng(0)
    path = make_video(tmp_path / "noise.mp4", [grain(rng, pictures[30], 12) for _ in range(40)], rate=RATE)
    assert any(word in reason(path) for word in ("photograph", "follow one another", "Nothing moves"))


def test_a_poster_that_the_camera_passes_is_not_judged(tmp_path, pictures):
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, 40)
    path = [20 * np.sin(5 * t), 10 * t, 1 + 0.12 * t, 14 * np.sin(4 * t)]
    shown = [grain(rng, moved(pictures[30], *(float(each[n]) for each in path)), 1.5) for n in range(40)]
    assert any(word in reason(make_video(tmp_path / "poster.mp4", shown, rate=RATE)) for word in ("photo", "Nothing"))


@pytest.mark.parametrize("length", [1, 20], ids=["cut", "cross-fade"])
def test_one_photo_that_becomes_another_is_not_judged(tmp_path, pictures, length):
    shares = np.clip((np.arange(45) - 12) / length, 0, 1)
    neutral, smiling = (pictures[n].astype(float) for n in (0, 30))
    rng = np.random.default_rng(0)
    shown = [grain(rng, (1 - share) * neutral + share * smiling, 1.5) for share in shares]
    found = reason(make_video(tmp_path / "fade.mp4", shown, rate=RATE))
    assert any(word in found for word in ("blends of two images", "Nothing moves"))


@pytest.fixture(scope="module")
def whole(smile):
    """What is read of the smile that they were made of."""
    return pipeline.examine(smile)[0]


def test_the_smile_that_they_were_made_of_is_judged(whole):
    reason = whole.verdict.reason
    assert reason is None or reason.startswith("Too close to call")


def test_frames_in_random_order_are_not_judged(tmp_path, pictures):
    order = np.random.default_rng(1).permutation(len(pictures))
    assert "do not follow one another" in reason(
        make_video(tmp_path / "order.mp4", [pictures[n] for n in order], rate=RATE)
    )


@pytest.mark.parametrize("keep", [0.0, 0.95], ids=["white", "wandering"])
@pytest.mark.parametrize("size", [1.0, 4.0])
def test_frozen_landmarks_that_jitter_are_not_judged(keep, size):
    still = simulate.track(simulate.SPONTANEOUS, 30.0)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (75, 68, 2))
    for n in range(1, 75):
        noise[n] = keep * noise[n - 1] + np.sqrt(1 - keep**2) * noise[n]
    points = still.points[0] + size * noise
    box = np.repeat(still.box[:1], 75, axis=0)
    frozen = FaceTrack(np.arange(75) / 30, points, np.full(75, np.nan), box, still.frame_size)
    verdict = pipeline.judge(frozen, MODEL, explain=False).verdict
    assert verdict.abstained and "jitter" in (verdict.reason or "")


def test_simulated_smiles_move_like_faces():
    together, abrupt = coherence.measure(simulate.track(simulate.SPONTANEOUS, 30.0))
    assert together > coherence.TOGETHER and abrupt < coherence.ABRUPT / 2


def masked(pictures, track, colour):
    """The lower face behind a polygon of one colour that moves with the landmarks."""
    for picture, points in zip(pictures, track.points, strict=True):
        outline = cv2.convexHull(points[[3, 5, 7, 8, 9, 11, 13, 33]]).round().astype(np.int32)
        yield cv2.fillConvexPoly(picture.copy(), outline, colour, cv2.LINE_AA)


def test_a_masked_mouth_is_not_seen_and_not_judged(tmp_path, whole, pictures, duchenne):
    path = make_video(tmp_path / "mask.mp4", masked(pictures, whole.track, (120, 170, 220)), rate=RATE)
    (analysis,) = pipeline.examine(path)
    assert "The mouth is covered" in (analysis.verdict.reason or "")
    assert np.isnan(analysis.track.points[:, 48:68]).all()  # no invented mouth in the tables either
    with pytest.raises(InputError, match="mouth"):
        spotting.examine(path)
    assert duchenne("extract", path, "-o", tmp_path / "out").code == 0
    (frames,) = (tmp_path / "out" / "frames").glob("*.csv")
    table, clips = pd.read_csv(frames), pd.read_csv(tmp_path / "out" / "clips.csv")
    assert table["x_48"].isna().all() and table["x_36"].notna().all() and not table["seen"].any()
    assert "The mouth is covered" in clips["warnings"][0] and not clips["seen"][0]


@pytest.fixture
def shared():
    folder = os.environ.get("DUCHENNE_DATA")
    if folder is None:
        pytest.skip("DUCHENNE_DATA does not name the folder of shared clips")
    return Path(folder)


@pytest.mark.parametrize("reader", ["paper", "mesh"])
def test_a_real_masked_person_is_not_judged(shared, reader):
    assert "The mouth is covered" in reason(shared / "cases" / "09-mask" / "mask.mp4", reader)
    (plain,) = pipeline.examine(shared / "clips" / "single_face.mp4", reader=reader)
    assert not any("covered" in each for each in plain.verdict.quality.warnings)
    assert reader == "mesh" or not plain.verdict.abstained


@pytest.mark.slow
def test_hands_on_a_real_face_cover_it(shared):
    (analysis,) = pipeline.examine(shared / "clips" / "WolfgangLanger_Pexels.mp4", end=10.5, reader="mesh")
    mouth = np.isfinite(analysis.track.points[:, 48:68]).all(axis=(1, 2))
    time = analysis.track.time
    assert mouth[time < 2.3].all() and mouth[time > 9.8].all()
    assert mouth[(time > 3.2) & (time < 5.2)].mean() < 0.1  # the fist, then the hand across the face
    assert mouth[(time > 6.3) & (time < 7.3)].mean() < 0.5  # fingers on half of the mouth
    invented = analysis.track.coefficients[~mouth, COEFFICIENTS.index("mouthSmileLeft")]
    assert np.isnan(invented).all()


def test_a_part_that_is_covered_for_a_while_is_a_gap():
    track = simulate.track(simulate.SPONTANEOUS, 30.0)
    found = pipeline.judge(replace(track), MODEL, covered=(("mouth", 0.0, 0.5),), explain=False)
    assert not found.track.seen[:15].any() and found.track.seen[17:].all()
    assert "The mouth is covered from 0.00 s to 0.50 s, and counted as not seen." in found.verdict.quality.warnings
