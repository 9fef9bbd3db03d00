"""Dark, flat and overexposed faces: points as in the plain video, or no verdict with the true reason."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from duchenne.faces import follow, light
from duchenne.judging import load_model
from duchenne.pipeline import judge
from duchenne.preprocess import clean
from duchenne.types import Light

DAMAGE = {
    "a quarter of the contrast": lambda x: 96 + x / 4,
    "dark": lambda x: x / 10,
    "nearly black": lambda x: x / 20,
    "bright": lambda x: 190 + x / 4,
    "video range": lambda x: 16 + x * 219 / 255,
    "gamma": lambda x: 255 * (x / 255) ** 2,
}


def followed(pictures, damage=lambda x: x, reader="paper"):
    def damaged(picture):
        return np.clip(np.round(damage(picture.astype(float))), 0, 255).astype(np.uint8)

    grey = [damaged(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)) for p in pictures]
    frames = [(g, damaged(p[..., ::-1])) for g, p in zip(grey, pictures, strict=True)]
    return follow([SimpleNamespace(time=i / 25, grey=g, bgr=c) for i, (g, c) in enumerate(frames)], reader=reader)


@pytest.fixture(scope="module")
def plains(pictures):
    return {reader: followed(pictures[:30], reader=reader).tracks[0] for reader in ("paper", "mesh")}


@pytest.fixture(scope="module")
def plain(plains):
    return plains["paper"]


@pytest.mark.parametrize("reader", ["paper", "mesh"])
@pytest.mark.parametrize("name", DAMAGE)
def test_points_lie_as_in_the_plain_video(pictures, plains, name, reader):
    plain = plains[reader]
    (track,) = followed(pictures[:30], DAMAGE[name], reader).tracks
    assert track.seen.all()
    eyes = np.linalg.norm(plain.points[:, 36:42].mean(axis=1) - plain.points[:, 42:48].mean(axis=1), axis=1)
    off = np.linalg.norm(track.points - plain.points, axis=2).mean(axis=1) / eyes
    assert np.median(off) < 0.03


def test_ordinary_contrast_is_not_touched():
    image = np.random.default_rng(0).integers(40, 110, (90, 80), dtype=np.uint8)
    assert light.clearer(image, light.levels(image), light.FACE) is image
    flat = (image // 7).astype(np.uint8)
    assert np.ptp(light.clearer(flat, light.levels(flat), light.FACE)) > 5 * np.ptp(flat)


def test_contrast_and_exposure_of_a_face():
    face = np.tile(np.linspace(50, 149, 100), (100, 1)).astype(np.uint8)
    found = light.measure(np.pad(face, 50), np.array([50, 50, 150, 150]))
    assert found.contrast == pytest.approx(70, abs=3) and found.overexposed < 0.1 and found.underexposed < 0.1
    blown = np.where(face > 99, 255, face).astype(np.uint8)
    assert light.measure(blown, np.array([0, 0, 100, 100])).overexposed == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Light(5.0, 0.1, 0.1), "The face has too little contrast: 5 of 255 grey levels"),
        (Light(90.0, 0.6, 0.0), "The face is overexposed: 60 % of it is plain white"),
        (Light(90.0, 0.0, 0.5), "The face is underexposed: 50 % of it is plain black"),
    ],
)
def test_no_verdict_where_points_cannot_be_trusted(plain, found, reason):
    verdict = judge(plain, load_model("default"), light=found, explain=False).verdict
    assert verdict.abstained and verdict.reason.startswith(reason)
    assert (verdict.quality.contrast, verdict.quality.overexposed, verdict.quality.underexposed) == found
    assert verdict.to_row()["contrast"] == found.contrast


def test_little_contrast_is_warned_of(plain):
    warnings = clean.assess(plain, light=Light(15.0, 0.0, 0.3)).warnings
    assert any("little contrast: 15 of 255" in w for w in warnings) and any("30 % of the face" in w for w in warnings)
