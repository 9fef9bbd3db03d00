"""What an expression network says of pictures, videos and clips: against the network asked by hand, and by hand."""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from conftest import RATE
from duchenne import checkpoints, video
from duchenne.clips import inputs
from duchenne.datasets import fer2013, fer_plus
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.expression import emotions, reading
from duchenne.expression.model import ExpressionModel
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.faces import crops
from duchenne.faces.follow import follow
from duchenne.faces.reading import read_faces
from duchenne.types import Array, FaceTrack, Signals
from duchenne.video import images as pictures
from makers import cut, make_video

RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 256, (5, 48, 48)).astype(np.uint8)
PHOTO = astronaut()


def small(head: str = "emotions", names: tuple[str, ...] = fer2013.CLASSES, **changes: object) -> ExpressionModel:
    """An untrained network whose answers differ from face to face."""
    recipe = ExpressionRecipe(kind="ours", head=head, widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1), **changes)
    torch.manual_seed(3)
    network = ExpressionCNN(recipe.config(names, [128.0] * recipe.channels, [64.0] * recipe.channels))
    with torch.no_grad():
        network.head.weight *= 20
    return ExpressionModel(network, recipe)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save(small(), tmp_path_factory.mktemp("model") / "small", name="small")


def asked(model: str | Path, faces: Array, flips: bool = True) -> Array:
    """Softmax of the bare network's logits, face by face, each with its mirror image."""
    network = checkpoints.load(model)[0].network
    said = []
    for face in faces:
        views = [face, face[:, ::-1]] if flips else [face]
        with torch.no_grad():
            logits = [network(torch.from_numpy(view.copy())[None, None]).double()[0].numpy() for view in views]
        said.append(np.mean([np.exp(z) / np.exp(z).sum() for z in logits], axis=0))
    return np.array(said)


def save(path: Path, picture: Array | Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


def numbers(table: pd.DataFrame) -> Array:
    return table[list(fer2013.CLASSES)].to_numpy(float)


# ---- faces, tracks, clips


@pytest.mark.parametrize("flips", [True, False])
def test_streamed_predictions_equal_the_networks(model: Path, flips: bool) -> None:
    network, about = reading.load(model)
    expected = asked(model, FACES, flips)
    assert about["id"] == "small" and np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(reading.predict_crops(network, iter(FACES), flips=flips), expected, atol=1e-6)
    many = reading.predict_crops(network, (FACES[i % 5] for i in range(600)), flips=flips)
    np.testing.assert_allclose(many, np.tile(expected, (120, 1)), atol=1e-6)
    assert reading.predict_crops(network, []).shape == (0, 7)


def test_predictions_over_time_are_nan_where_the_face_is_not_seen(model: Path) -> None:
    network, _ = reading.load(model)
    points = np.tile(RNG.random((68, 2)), (5, 1, 1))
    points[[1, 4]] = np.nan
    track = FaceTrack(np.arange(5) / 10, points, np.ones(5), np.ones((5, 4)), (48, 48), FACES[..., None])
    curves = reading.over_time(track, network, flips=False)
    assert curves.names == fer2013.CLASSES and set(curves.units) == {"1"}
    np.testing.assert_array_equal(curves.time, track.time)
    np.testing.assert_array_equal(np.isnan(curves.values).all(axis=1), [False, True, False, False, True])
    np.testing.assert_allclose(curves.values[[0, 2, 3]], asked(model, FACES[[0, 2, 3]], False), atol=1e-6)
    with pytest.raises(InputError, match="track without crops"):
        reading.over_time(replace(track, crops=None), network)
    unseen = replace(track, points=np.full_like(points, np.nan), crops=None)
    assert np.isnan(reading.over_time(unseen, network).values).all()


@pytest.mark.parametrize(("head", "unit"), [("units", "0-1"), ("intensity", "0-5")])
def test_action_units_are_curves_in_their_own_units(head: str, unit: str) -> None:
    track = FaceTrack(np.arange(5) / 10, np.ones((5, 68, 2)), np.ones(5), np.ones((5, 4)), (48, 48), FACES[..., None])
    curves = reading.over_time(track, small(head, ("AU04", "AU12")))
    assert curves.units == (unit, unit) and np.isfinite(curves.values).all()
    with pytest.raises(UsageError, match=f"probabilities of emotions, found curves in {unit}"):
        reading.clip_emotion(curves)


def curves(p: Array, names: tuple[str, ...]) -> Signals:
    return Signals(np.arange(len(p)) / 10, np.array(p), names, ("1",) * len(names))


def test_clip_emotion_is_the_mean_of_the_least_neutral_quarter() -> None:
    """Of eight frames two count, those with neutral at 0.1 and 0.2; the frame that is not seen does not."""
    calm = [0.9, 0.8, 0.2, np.nan, 0.7, 0.9, 0.1, 0.6, 0.9]
    smile = [0.05, 0.1, 0.6, np.nan, 0.2, 0.1, 0.8, 0.3, 0.1]
    p = np.column_stack([smile, calm, 1 - np.add(smile, calm)])
    found = reading.clip_emotion(curves(p, ("happiness", "neutral", "fear")))
    assert found == pytest.approx({"happiness": 0.7, "neutral": 0.15, "fear": 0.15})
    # one frame more, and the quarter is rounded up to three: neutral at 0.6 joins
    more = reading.clip_emotion(curves(np.vstack([p, [[0.1, 0.9, 0.0]]]), ("happiness", "neutral", "fear")))
    assert more == pytest.approx({"happiness": 1.7 / 3, "neutral": 0.3, "fear": 0.4 / 3})


def test_neutral_frames_around_an_expression_do_not_change_it() -> None:
    rest, face = [[0.02, 0.97, 0.01]], [[0.9, 0.05, 0.05]]
    names = ("happiness", "neutral", "fear")
    for before in (0, 3, 30):
        found = reading.clip_emotion(curves(rest * before + face * 20 + rest * before, names))
        assert max(found, key=found.__getitem__) == "happiness"
        assert sum(found.values()) == pytest.approx(1)
    assert reading.clip_emotion(curves(rest * 40, names))["neutral"] == pytest.approx(0.97)


def test_clip_emotion_without_seen_frames_or_without_neutral() -> None:
    assert reading.clip_emotion(curves(np.full((4, 2), np.nan), ("anger", "neutral"))) == {}
    assert reading.clip_emotion(curves(np.zeros((0, 2)), ("anger", "neutral"))) == {}
    found = reading.clip_emotion(curves([[0.2, 0.8], [0.6, 0.4]], ("anger", "fear")))
    assert found == pytest.approx({"anger": 0.4, "fear": 0.6})


# ---- pictures


def test_image_row_equals_the_network_on_its_crop(model: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", PHOTO)
    table = emotions.table(path, model=model)
    assert list(table) == ["file", "face", "emotion", *fer2013.CLASSES, "problem"]
    (face,) = crops.find(pictures.read(path).grey)
    expected = asked(model, face.crop[None])
    np.testing.assert_allclose(numbers(table), expected, atol=2e-6)
    (row,) = table.to_dict("records")
    assert (row["file"], row["face"], row["emotion"]) == (str(path), 0, fer2013.CLASSES[int(expected.argmax())])
    assert pd.isna(row["problem"])
    alone = emotions.table([path], model=model, flips=False)
    np.testing.assert_allclose(numbers(alone), asked(model, face.crop[None], False), atol=2e-6)


def test_shipped_network_finds_happiness_in_astronaut(tmp_path: Path) -> None:
    (row,) = emotions.table(save(tmp_path / "a.png", PHOTO)).to_dict("records")
    assert row["emotion"] == "happiness" and sum(row[name] for name in fer_plus.CLASSES) == pytest.approx(1, abs=1e-5)


def test_file_format_does_not_change_the_prediction(model: Path, tmp_path: Path) -> None:
    """A plain PNG, its 16 bits, a camera held sideways and printers' colours give nearly the same answer."""
    grey = pictures.read(save(tmp_path / "plain.png", PHOTO)).grey
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it upright
    save(tmp_path / "deep.png", grey.astype(np.uint16) * 257)
    save(tmp_path / "sideways.jpg", Image.fromarray(PHOTO).transpose(Image.Transpose.ROTATE_90), exif=exif, quality=95)
    save(tmp_path / "printer.tiff", Image.fromarray(PHOTO).convert("CMYK"))
    table = emotions.table(tmp_path, model=model)
    assert list(table["file"]) == ["deep.png", "plain.png", "printer.tiff", "sideways.jpg"]
    assert table["problem"].isna().all() and table["emotion"].nunique() == 1
    p = numbers(table)
    np.testing.assert_array_equal(p[0], p[1])
    np.testing.assert_allclose(p, np.tile(p[1], (4, 1)), atol=0.08)


def test_every_face_of_a_picture_on_request(model: Path, tmp_path: Path) -> None:
    larger = np.asarray(Image.fromarray(PHOTO).resize((768, 768)))
    path = save(tmp_path / "two.png", np.hstack([larger, np.pad(PHOTO[:, ::-1], ((0, 256), (0, 0), (0, 0)))]))
    found = crops.find(pictures.read(path).grey)
    assert len(found) == 2
    table = emotions.table(path, model=model, all_faces=True)
    assert list(table["face"]) == [0, 1] and list(table["file"]) == [str(path)] * 2
    np.testing.assert_allclose(numbers(table), asked(model, np.stack([face.crop for face in found])), atol=2e-6)
    pd.testing.assert_frame_equal(emotions.table(path, model=model), table.iloc[:1])


def test_folders_in_folders_in_natural_order_and_nothing_else(model: Path, tmp_path: Path) -> None:
    places = {"10.png": 0, "9.PNG": 1, "1²3.png": 2, "happy/2.png": 3, "happy/deep/10.png": 4}
    for name, k in places.items():
        save(tmp_path / name, FACES[k])
    (tmp_path / ".hidden").mkdir()
    for name in ("._9.png", ".hidden/a.png", "__MACOSX/9.png"):
        save(tmp_path / name, FACES[0])
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "happy" / "again").symlink_to(tmp_path, target_is_directory=True)  # leads back
    table = emotions.table(tmp_path, model=model, is_aligned=True)
    assert list(table["file"]) == ["1²3.png", "9.PNG", "10.png", "happy/2.png", "happy/deep/10.png"]
    order = [places[name] for name in table["file"]]
    np.testing.assert_allclose(numbers(table), asked(model, FACES[order]), atol=2e-6)
    (tmp_path / "happy" / "again").unlink()
    two = emotions.table([tmp_path / "happy", tmp_path / "9.PNG"], model=model, is_aligned=True)
    assert list(two["file"]) == [str(tmp_path / name) for name in ("happy/2.png", "happy/deep/10.png", "9.PNG")]


def test_aligned_faces_are_not_cropped(model: Path, tmp_path: Path) -> None:
    votes = fer_plus.read(Path(os.environ.get("DUCHENNE_DATA", ""), "data", "fer2013", "original"))
    if votes is None:
        pytest.skip("DUCHENNE_DATA names no folder with data/fer2013/original.")
    some = np.flatnonzero((votes.folds == "public_test") & fer_plus.agreed(votes.shares))[:300]
    images, labels = votes.images[some], votes.shares[some].argmax(axis=1)
    for i, image in enumerate(images):
        save(tmp_path / f"{i}.png", image)
    table = emotions.table(tmp_path, is_aligned=True)
    network = checkpoints.load("expression")[0]
    values = table[list(fer_plus.CLASSES)].to_numpy(float)
    np.testing.assert_allclose(values, network.predict(images, flips=True), atol=2e-6)
    right = [fer_plus.CLASSES[label] for label in labels] == table["emotion"]
    assert right.mean() > 0.8


def test_problems_of_a_folder_are_rows_of_the_table(model: Path, tmp_path: Path) -> None:
    save(tmp_path / "1.png", PHOTO)
    cut(save(tmp_path / "2.jpg", PHOTO), 0.5)
    save(tmp_path / "3.png", np.tile(np.linspace(40, 160, 320).astype(np.uint8), (240, 1)))
    save(tmp_path / "4.gif", PHOTO, save_all=True, append_images=[Image.fromarray(255 - PHOTO)])
    said: list[str] = []
    table = emotions.table(tmp_path, model=model, log=said.append)
    assert list(table["emotion"].isna()) == list(table["problem"].notna()) == [False, True, True, False]
    assert np.isnan(numbers(table)[[1, 2]]).all() and np.isfinite(numbers(table)[[0, 3]]).all()
    assert list(table["face"].isna()) == [False, True, True, False]
    problems = table["problem"].dropna().tolist()
    assert "2.jpg is an image that is cut short or damaged" in problems[0] and "3.png shows no face" in problems[1]
    assert len(said) == 2 and "on cpu" in said[0] and "4.gif holds several images; the first was used." in said[1]
    for name, words in (("2.jpg", "cut short"), ("3.png", "shows no face"), ("none.png", "There is no file")):
        with pytest.raises(InputError, match=words):
            emotions.table(tmp_path / name, model=model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is a folder without images"):
        emotions.table(tmp_path / "empty", model=model)
    both = emotions.table([tmp_path / "empty", tmp_path / "1.png"], model=model)
    assert list(both["problem"].notna()) == [True, False]


# ---- videos


def expected_rows(path: Path, rows: list[int], model: Path) -> tuple[Array, Array]:
    """Times and answers of a clip with one face, from `of_track` and the bare network."""
    (track,) = follow(video.frames(path), reader="mesh").tracks
    track = crops.of_track(track, video.frames(path))
    assert track.crops is not None
    said = np.full((len(track), 7), np.nan)
    said[track.seen] = asked(model, track.crops[track.seen, ..., 0])
    return track.time[rows], said[rows]


def test_video_rows_are_the_first_frames_at_each_moment(model: Path, pictures: list[Array], tmp_path: Path) -> None:
    """At 25 frames/s multiples of 0.1 s fall on frames 0, 2.5, 5, …; the first at or after is 0, 3, 5, 8, …"""
    smile = make_video(tmp_path / "smile.mp4", pictures[:30], rate=RATE)
    rows = [-(-5 * k // 2) for k in range(12)]
    time, said = expected_rows(smile, rows, model)
    counts: list[int] = []
    table = emotions.table(smile, model=model, tick=counts.append)
    assert list(table)[:4] == ["file", "time", "face", "emotion"] and list(table["file"].unique()) == [str(smile)]
    np.testing.assert_allclose(table["time"], time, atol=1e-6)
    np.testing.assert_allclose(time, np.array(rows) / RATE, atol=1e-3)
    np.testing.assert_allclose(numbers(table), said, atol=2e-6)
    assert counts == list(range(1, 31)) and set(table["face"]) == {0}
    assert len(emotions.table(smile, model=model, every=0)) == 30
    assert list(emotions.table(smile, model=model, every=1)["time"].round(2)) == [0, 1]


def test_frames_without_a_face_have_empty_rows(model: Path, pictures: list[Array], tmp_path: Path) -> None:
    wall = np.repeat(np.tile(np.linspace(40, 160, 320).astype(np.uint8), (240, 1))[..., None], 3, 2)
    path = make_video(tmp_path / "gone.mp4", [*pictures[:10], *[wall] * 15], rate=RATE)
    table = emotions.table(path, model=model, every=0)
    gone = np.isnan(numbers(table)).all(axis=1)
    assert len(table) == 25 and not gone[:8].any() and gone[12:].all()
    assert table["emotion"][gone].isna().all() and table["problem"].isna().all() and (table["face"] == 0).all()
    with pytest.raises(InputError, match="shows no face: none was found in 5 frames"):
        emotions.table(make_video(tmp_path / "wall.mp4", [wall] * 5, rate=RATE), model=model)


def test_faces_of_a_video_by_moment_and_beside_pictures(model: Path, pictures: list[Array], tmp_path: Path) -> None:
    pair = make_video(tmp_path / "pair.mp4", [np.hstack([p, p[:, ::-1]]) for p in pictures[:10]], rate=RATE)
    still = save(tmp_path / "still.png", pictures[0])
    table = emotions.table([still, pair, tmp_path / "none.mp4"], model=model, all_faces=True, every=0.2)
    assert list(table["file"]) == [str(still), *[str(pair)] * 4, str(tmp_path / "none.mp4")]
    assert [None if pd.isna(k) else k for k in table["face"]] == [0, 0, 1, 0, 1, None]
    np.testing.assert_allclose(table["time"], [np.nan, 0, 0, 0.2, 0.2, np.nan], atol=1e-6)
    assert list(table["problem"].notna()) == [False] * 5 + [True]
    assert len(emotions.table(pair, model=model, every=0.2)) == 2


def test_truncated_video_is_refused_unless_allowed(model: Path, pictures: list[Array], tmp_path: Path) -> None:
    path = cut(make_video(tmp_path / "a.mkv", pictures, rate=RATE), 0.6)
    with pytest.raises(InputError, match="pass --allow-truncated"):
        emotions.table(path, model=model)
    table = emotions.table(path, model=model, allow_truncated=True, every=0)
    assert 10 < len(table) < 60 and np.isfinite(numbers(table)).all()


def test_frames_are_not_kept(model: Path, smile: Path) -> None:
    """Over both readings of the file at most the frame at hand and the one that is decoded are alive."""
    alive: list[int] = []

    def count(*_: object) -> None:
        alive.append(sum(type(each) is video.Frame for each in gc.get_objects()))

    gc.freeze()  # what is alive already is not looked through each time
    requested = inputs.Inputs.of(
        smile, every=0.4, is_aligned=False, rate=None, reader="mesh", all_faces=False, allow_truncated=False,
        read=read_faces,
    )  # fmt: skip
    progress = inputs.Progress(lambda done: count() if done % 10 == 0 else None)
    try:
        for _ in inputs.rows(requested, progress):
            count()
    finally:
        gc.unfreeze()
    assert len(alive) == 12 and max(alive) <= 2


# ---- models, options


def test_action_units_have_columns_of_their_own_and_no_emotion(tmp_path: Path) -> None:
    folder = checkpoints.save(small("intensity", ("AU04", "AU12")), tmp_path / "units", name="units")
    table = emotions.table(save(tmp_path / "a.png", FACES[0]), model=folder, is_aligned=True)
    assert list(table) == ["file", "face", "AU04", "AU12", "problem"]
    expected = checkpoints.load(folder)[0].predict(FACES[:1], flips=True)
    np.testing.assert_allclose(table[["AU04", "AU12"]].to_numpy(float), expected, atol=2e-6)


def test_a_network_for_colour_is_given_red_green_and_blue(tmp_path: Path) -> None:
    """Aligned images, and crops of a found face, whose channels are cropped as grey levels are."""
    place = checkpoints.save(small(channels=3), tmp_path / "colour", name="colour")
    model, names = checkpoints.load(place)[0], list(fer2013.CLASSES)
    rgb = RNG.integers(0, 256, (48, 48, 3)).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "face.png")
    table = emotions.table(tmp_path / "face.png", model=place, is_aligned=True)
    np.testing.assert_allclose(table[names].to_numpy(float), model.predict(rgb[None], flips=True), atol=2e-6)
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    (face,), _ = crops.faces(tmp_path / "photo.png", in_colour=True)
    for channel in range(3):
        np.testing.assert_array_equal(face.crop[..., channel], crops.crop(PHOTO[..., channel], face.points))
    with pytest.raises(ModelError, match="reads faces in colour, which only the command emotions crops"):
        reading.load(place)
    with pytest.raises(InputError, match="reads faces in colour, found grey ones"):
        model.predict(FACES)
    grey = small()  # which reads the luma of colours
    luma = (rgb @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
    np.testing.assert_allclose(grey.predict(rgb[None]), grey.predict(luma[None]), atol=0.02)


def test_models_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="descriptors is a duchenne-descriptors model, expected duchenne-expression"):
        emotions.table("a.png", model="descriptors")
    with pytest.raises(UsageError, match="There is no model 'none'"):
        emotions.table("a.png", model="none")
    clash = checkpoints.save(small(names=("anger", "face")), tmp_path / "clash", name="clash")
    with pytest.raises(ModelError, match="has a class 'face'"):
        emotions.table("a.png", model=clash)


@pytest.mark.parametrize(
    ("paths", "options", "words"),
    [
        ([], {}, "There are no inputs"),
        (["a.png"], {"every": -1}, "--every must be"),
        (["a.png"], {"every": float("nan")}, "--every must be"),
        (["a.png", "a.mp4"], {"is_aligned": True}, "--aligned is for images"),
        (["a.png"], {"device": "abacus"}, "no device 'abacus'"),
    ],
)
def test_invalid_options_are_refused(model: Path, paths: list[str], options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        emotions.table(paths, model=model, **options)
