"""Training and carrying over expression networks: what is read, who is held back, what is told, what is saved."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from duchenne import checkpoints, video
from duchenne.clips.cache import Cache
from duchenne.datasets import coded, fer2013, people, simulate
from duchenne.errors import InputError, UsageError
from duchenne.expression import data as expression_data
from duchenne.expression.faces import Faces, Reader
from duchenne.expression.learner import ExpressionLearner
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.expression.split import held_back
from duchenne.expression.training import finetune, train
from duchenne.faces import crops
from makers import class_folders, pattern, unit_table

TINY = ExpressionRecipe(
    widths=(4, 4, 8, 8),
    blocks=(1, 1, 1, 1),
    epochs=3,
    batch_size=8,
    learning_rate=3e-3,
    precision="float32",
    horizontal_flip=False,
    per_image_standardization=True,
)
UNITS = replace(TINY, head="units")


def faces_of(labels, subjects=None, folds=None, classes=("a", "b", "c")):
    """Faces of patterns, the first label's."""
    labels, rng = np.asarray(labels), np.random.default_rng(0)
    first = labels if labels.ndim == 1 else np.nan_to_num(labels[:, 0]).astype(int)
    return Faces(
        np.stack([pattern(k, rng) for k in first]),
        labels,
        tuple(classes),
        tuple(f"{i}.png" for i in range(len(labels))),
        None if subjects is None else np.array(subjects),
        np.full(len(labels), "") if folds is None else np.array(folds),
    )


@pytest.fixture(scope="module")
def rendered():
    """(crops, pull of the lip corners, persons) of eight made-up people, each smiling once, slowly, while they move."""
    rng, size = np.random.default_rng(3), (200, 150)
    kin = simulate.SmileKinematics(
        0.9, 0.1, 0.9, 0.24, neutral_before=0.6, neutral_after=0.5, peak=2.0, offset_peak=2.0
    )
    pull = simulate.smile_curve(kin, np.arange(round(kin.duration * 8)) / 8)
    images, who = [], []
    for i in range(8):
        person = people.someone(rng)
        points = simulate.track(kin, 8.0, i, size=size, person=person).points
        frames = simulate.frames(kin, rate=8.0, size=size, seed=i, person=person)
        images += [crops.crop(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), p) for f, p in zip(frames, points, strict=True)]
        who += [f"person{i}"] * len(points)
    return np.stack(images), np.tile(pull, 8), np.array(who)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A folder with a tiny network that knows three patterns."""
    faces = faces_of(np.arange(24) % 3)
    learner = ExpressionLearner(TINY, faces.images, faces.labels, ("anger", "happiness", "sadness"), device="cpu")
    return checkpoints.save(learner.model(), tmp_path_factory.mktemp("known") / "tiny", name="tiny")


# --- what is read --------------------------------------------------------------------------------------------------


def test_fer2013_is_read_in_every_form(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (9, 48, 48), np.uint8), np.arange(9) % 7
    folds = np.array(["train"] * 5 + ["public_test"] * 2 + ["private_test"] * 2)
    packed, table, folders = tmp_path / "packed", tmp_path / "table", tmp_path / "folders"
    packed.mkdir()
    for fold in ("train", "public_test", "private_test"):
        np.savez(packed / f"{fold}.npz", images=images[folds == fold], labels=labels[folds == fold])
    table.mkdir()
    usage = {"train": "Training", "public_test": "PublicTest", "private_test": "PrivateTest"}
    lines = [f"{k},{' '.join(map(str, x.ravel()))},{usage[f]}" for k, x, f in zip(labels, images, folds, strict=True)]
    (table / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines]))
    for i, (k, x, fold) in enumerate(zip(labels, images, folds, strict=True)):
        word = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")[k]
        folder = folders / ("train" if fold == "train" else "test") / word
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{usage[fold]}_{i}.png"), x)
    for data in (packed, table, table / "fer2013.csv", folders):
        found = expression_data.emotions(data)
        assert found.classes == fer2013.CLASSES and found.subjects is None
        order = [next(i for i, each in enumerate(images) if (each == face).all()) for face in found.images]
        assert sorted(order) == list(range(9))
        np.testing.assert_array_equal(found.labels, labels[order])
        np.testing.assert_array_equal(found.folds, folds[order])
        assert set(found.roles) == {"train", "validation", "test"}


def test_class_folders_with_and_without_folds(tmp_path):
    plain = expression_data.emotions(class_folders(tmp_path / "plain"), Reader(person="(p[0-9])_"))
    assert plain.classes == ("anger", "happiness", "sadness")
    np.testing.assert_array_equal(plain.labels, np.repeat([0, 1, 2], 6))
    assert plain.subjects is not None and plain.subjects.tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"] * 3
    for fold, words in (("Train", ("sad", "happy")), ("test", ("happy", "sad"))):
        class_folders(tmp_path / "parted" / fold, 2, words)
    parted = expression_data.emotions(tmp_path / "parted")
    assert parted.classes == ("happiness", "sadness") and parted.subjects is None
    assert sorted(parted.roles.tolist()) == ["test"] * 4 + ["train"] * 4
    for path, face, label in zip(parted.files, parted.images, parted.labels, strict=True):
        np.testing.assert_array_equal(face, cv2.imread(path, cv2.IMREAD_GRAYSCALE))  # 48×48: a face by itself
        assert parted.classes[label] == {"happy": "happiness", "sad": "sadness"}[Path(path).parent.name]


def test_other_emotions_keep_their_names(tmp_path):
    found = expression_data.emotions(class_folders(tmp_path / "data", 2, ("bored", "angry", "awe")), classes=None)
    assert set(found.classes) == {"bored", "anger", "awe"}


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda root: class_folders(root, 2, ("angry", "bored")), "bored is not named after a known class"),
        (lambda root: class_folders(root, 2, ("angry",)), "images of one class only, anger"),
        (
            lambda root: (class_folders(root / "train", 2), class_folders(root / "more", 2)),
            "more lies beside the folds",
        ),
        (lambda root: class_folders(root / "test", 2), "no folder train"),
        (
            lambda root: (class_folders(root / "train", 2, ("angry", "sad")), class_folders(root / "val", 2)),
            "has the class happiness, which the folder train does not have",
        ),
        (lambda root: None, "There is no folder"),
        (lambda root: (class_folders(root, 2), (root / "sad" / "p9.png").write_bytes(b"text")), "is not an image"),
        (
            lambda root: (
                class_folders(root, 2),
                cv2.imwrite(str(root / "sad" / "z.png"), np.zeros((90, 90), np.uint8)),
            ),
            "1 of 7 im",
        ),
    ],
)
def test_invalid_folders_are_refused(tmp_path, make, fault):
    make(tmp_path / "data")
    with pytest.raises(InputError) as caught:
        train(tmp_path / "data", tmp_path / "out", TINY, device="cpu", log=str)
    assert fault in str(caught.value) and str(caught.value).endswith(".")
    assert not (tmp_path / "out").exists()


def test_persons_by_pattern(tmp_path):
    root = class_folders(tmp_path / "data", 2)
    with pytest.raises(InputError, match="does not match --person"):
        expression_data.emotions(root, Reader(person="S[0-9]+"))
    with pytest.raises(UsageError, match="not a regular expression"):
        expression_data.emotions(root, Reader(person="("))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_of_units(tmp_path, mark):
    text = "File,Subject,fold,AU01_c,au12,note\na.png,ann,train,1,0,x\nb.png,bob,test,,1,\nc.png,ann,train,0,0,\n"
    (tmp_path / "units.csv").write_text(text.replace(",", mark))
    for i, name in enumerate("abc"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((48, 48), 10 * i, np.uint8))
    found = expression_data.units(tmp_path / "units.csv")
    assert found.classes == ("AU1", "AU12") and found.subjects.tolist() == ["ann", "bob", "ann"]
    np.testing.assert_array_equal(found.labels, [[1, 0], [math.nan, 1], [0, 0]])
    np.testing.assert_array_equal(found.images[:, 0, 0], [0, 10, 20])
    assert found.roles.tolist() == ["train", "test", "train"]
    assert expression_data.units(tmp_path / "units.csv", only=["au1"]).labels.shape == (3, 1)
    with pytest.raises(UsageError, match="has no unit 'AU6'; choose from AU1, AU12"):
        expression_data.units(tmp_path / "units.csv", only=["AU6"])


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "a.png,ann,1,0",
            "a.png,ann,2,0",
            "line 2: expected 1 (present), 0 (absent) or nothing (not coded)",
        ),
        ("a.png,ann,1,0", "a.png,ann,yes,0", "as AU1, found 'yes'"),
        ("b.png,bob,0,1", "b.png,bob,0", "line 3, has 3 cells for 4 columns"),
        ("b.png,bob,0,1", "b.png,,0,1", "line 3 has no subject"),
        ("b.png,bob,0,1", ",bob,0,1", "line 3 names no file"),
        ("b.png,bob,0,1", "gone.png,bob,0,1", "1 of 3 files of"),
        ("a.png,ann,1,0", "a.png,ann,0,0", "no image in which AU1 is present"),
        ("a.png,ann,1,0", "a.png,ann,,0", "no image in which AU1 is present"),
        ("c.png,cat,0,0", "c.png,cat,0,1", None),
        ("AU12", "AU1_r", "two columns of one action unit"),
        ("AU1,AU12", "lips,brows", "no column of an action unit"),
        ("file", "path", "lacks the column file"),
        ("subject", "file", "has the column file more than once"),
    ],
)
def test_invalid_tables_are_refused(tmp_path, old, new, fault):
    path = unit_table(tmp_path / "units.csv", ["a.png,ann,1,0", "b.png,bob,0,1", "c.png,cat,0,0"])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    if fault is None:
        assert expression_data.units(path).labels[:, 1].tolist() == [0, 1, 1]
        return
    with pytest.raises(InputError) as caught:
        expression_data.units(path)
    assert fault in str(caught.value) and str(caught.value).endswith(".")


def test_constant_unit_is_refused_and_levels_are_read(tmp_path):
    path = unit_table(tmp_path / "units.csv", ["a.png,ann,1,5", "b.png,bob,1,2.5", "c.png,cat,1,"])
    with pytest.raises(InputError, match="has the same AU1 in every image"):
        expression_data.units(path, levels=True)
    found = expression_data.units(path, levels=True, only=["AU12"])
    np.testing.assert_array_equal(found.labels[:, 0], [5, 2.5, math.nan])
    path.write_text(path.read_text().replace("1,5", "1,6"))
    with pytest.raises(InputError, match=r"line 2: expected a number from 0 to 5 or nothing .* as AU12, found '6'"):
        expression_data.units(path, levels=True)


def test_images_without_a_face_are_refused_or_left_out(tmp_path, pictures):
    for name, picture in (
        ("smile", pictures[20]),
        ("rest", pictures[0]),
        ("wall", np.full((240, 320, 3), 90, np.uint8)),
    ):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture[..., ::-1])
    (tmp_path / "units.csv").write_text("file,AU12\nsmile.png,1\nwall.png,0\nrest.png,0\n")
    with pytest.raises(InputError, match=r"No face was found in 1 of 3 images of .*units\.csv, first .*wall\.png"):
        expression_data.units(tmp_path / "units.csv")
    read_ = []
    reader = Reader(skip=True, cache=Cache(tmp_path / "kept", 10**9), tick=lambda *done: read_.append(done))
    found = expression_data.units(tmp_path / "units.csv", reader)
    assert read_ == [(1, 3), (2, 3), (3, 3)] and len(found.notes) == 1 and "left out" in found.notes[0]
    expected = [crops.faces(tmp_path / name)[0][0].crop for name in ("smile.png", "rest.png")]
    np.testing.assert_array_equal(found.images, expected)
    assert found.labels.tolist() == [[1], [0]] and found.subjects is None
    # what was found is kept: a face put in its place is taken, and a picture that changed is looked at again
    for kept in (tmp_path / "kept").iterdir():
        if "face" in np.load(kept):
            np.savez(kept, face=np.full((48, 48), 7, np.uint8))
    assert (expression_data.units(tmp_path / "units.csv", reader).images == 7).all()
    with (tmp_path / "smile.png").open("ab") as file:
        file.write(b"\0")
    again = expression_data.units(tmp_path / "units.csv", reader).images
    np.testing.assert_array_equal(again[0], expected[0])
    assert (again[1] == 7).all()


def test_ck_plus(tmp_path):
    """Two people, of each the first image at rest and the last as coded."""
    rng, units = np.random.default_rng(0), {"S005": "12 3\n25 0\n", "S010": "12 0\n25 2\n4 1\n"}
    for person, text in units.items():
        folder = tmp_path / "cohn-kanade-images" / person / "001"
        folder.mkdir(parents=True)
        for i in (1, 2, 3):
            cv2.imwrite(str(folder / f"{person}_001_{i:08}.png"), rng.integers(0, 256, (48, 48), np.uint8))
        for kind, body in (("FACS", text), ("Emotion", "5\n" if person == "S005" else "2\n")):
            (tmp_path / kind / person / "001").mkdir(parents=True)
            (tmp_path / kind / person / "001" / f"{person}_001_00000003_{kind.lower()}.txt").write_text(body)
    found = expression_data.units(tmp_path)
    assert found.classes == ("AU12", "AU25") and found.subjects.tolist() == ["S005", "S005", "S010", "S010"]
    assert [Path(file).stem[-1] for file in found.files] == ["1", "3", "1", "3"]
    np.testing.assert_array_equal(found.labels, [[0, 0], [1, 1], [0, 0], [1, 1]])
    levels = expression_data.units(tmp_path, levels=True)
    np.testing.assert_array_equal(levels.labels, [[0, 0], [3, math.nan], [0, 0], [math.nan, 2]])
    emotions = expression_data.emotions(tmp_path, classes=None)
    assert [emotions.classes[k] for k in emotions.labels] == ["neutral", "happiness", "neutral", "contempt"]
    expected = expression_data.emotions(tmp_path)  # contempt as the last of eight classes
    assert expected.classes == ("happiness", "neutral", "contempt") and not expected.notes
    np.testing.assert_array_equal(expected.labels, [1, 0, 1, 2])
    (tmp_path / "Emotion" / "S005" / "001" / "S005_001_00000003_emotion.txt").unlink()
    left = expression_data.emotions(tmp_path)
    assert left.classes == ("neutral", "contempt") and "1 of 2 sequences of" in left.notes[0]


def test_training_in_colour_where_there_is_any(tmp_path):
    """Red and blue faces: files are read as red, green, blue, and the network that is saved tells these apart."""
    rng = np.random.default_rng(0)
    for word, bgr in (("sad", (0, 0, 150)), ("happy", (255, 27, 0))):
        (tmp_path / "data" / word).mkdir(parents=True)
        for i in range(8):
            noisy = np.clip(np.array(bgr) + rng.normal(0, 4, (48, 48, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "data" / word / f"{i}.png"), noisy)
    found = expression_data.emotions(tmp_path / "data", Reader(channels=3))
    assert found.images.shape == (16, 48, 48, 3)
    np.testing.assert_array_equal(found.images[0], cv2.imread(found.files[0])[..., ::-1])
    recipe = replace(TINY, channels=3, per_image_standardization=False, epochs=1)
    train(tmp_path / "data", tmp_path / "out", recipe, device="cpu", log=str)
    model = checkpoints.load(tmp_path / "out")[0]
    assert model.recipe.channels == 3
    assert not np.allclose(model.predict(found.images), model.predict(found.images[..., ::-1]), atol=1e-4)
    with pytest.raises(InputError, match="has no image in colour"):
        train(class_folders(tmp_path / "grey"), tmp_path / "no", recipe, device="cpu", log=str)
    with pytest.raises(InputError, match="found grey ones"):
        train(packed_file(tmp_path / "faces.npz"), tmp_path / "no", recipe, device="cpu", log=str)
    assert not list(tmp_path.glob("*no*"))


def packed_file(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "images": np.stack([pattern(i, rng) for i in range(12)]),
        "subject": np.repeat(["ann", "bob", "cid", "dee"], 3),
        "emotion": np.array(["happy", "contempt", "sad"] * 4),
        "units": np.column_stack([np.arange(12) % 2, np.arange(12) < 2, np.arange(12) % 3 == 0]),
        "unit_names": np.array(["AU01", "AU6", "au12"]),
    } | changes
    np.savez(path, **{name: each for name, each in arrays.items() if each is not None})
    return path


def test_a_packed_file_of_emotions_and_of_units(tmp_path):
    path = packed_file(tmp_path / "faces.npz")
    found = expression_data.emotions(path)
    assert found.classes == ("happiness", "sadness", "contempt") and found.subjects.tolist()[2:4] == ["ann", "bob"]
    np.testing.assert_array_equal(found.labels, [0, 2, 1] * 4)
    units = expression_data.units(path)  # AU6 is ann's alone
    assert units.classes == ("AU1", "AU12") and "AU6 of" in units.notes[0]
    np.testing.assert_array_equal(units.labels[:4], [[0, 1], [1, 0], [0, 0], [1, 1]])
    assert expression_data.units(path, only=["AU6"]).classes == ("AU6",)
    with pytest.raises(UsageError, match="has no unit 'AU9'"):
        expression_data.units(path, only=["AU9"])


@pytest.mark.parametrize(
    ("read", "changes", "fault"),
    [
        (expression_data.emotions, {"images": np.zeros((12, 40, 40), np.uint8)}, r"has images uint8 \(12, 40, 40\)"),
        (expression_data.emotions, {"emotion": np.array(["happy", "awe"] * 6)}, "row 1 .from 0.: expected one of"),
        (expression_data.emotions, {"emotion": np.array(["sad"] * 12)}, "images of one class only, sadness"),
        (expression_data.emotions, {"emotion": None}, "has no array emotion"),
        (expression_data.emotions, {"subject": np.array(["ann", ""] * 6)}, "row 1 .from 0. has no subject"),
        (expression_data.emotions, {"fold": np.array(["late"] * 12)}, "has the fold 'late'"),
        (expression_data.units, {"units": np.full((12, 3), 2)}, "has the level 2 of a unit"),
        (expression_data.units, {"unit_names": np.array(["AU1", "AU2"])}, "a column for each name"),
        (expression_data.units, {"unit_names": np.array(["AU1", "AU01", "x"])}, "a name of its own"),
    ],
)
def test_invalid_packed_files_are_refused(tmp_path, read, changes, fault):
    with pytest.raises(InputError, match=fault):
        read(packed_file(tmp_path / "faces.npz", **changes))


@pytest.mark.slow
def test_disfa(tmp_path, pictures):
    """Every 20th frame of a real video, with the face that is found in it."""
    frames = pictures[:41]
    (tmp_path / "Videos_LeftCamera").mkdir()
    clip = tmp_path / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi"
    video.write(tmp_path / "clip.mp4", frames, 20.0)
    (tmp_path / "clip.mp4").rename(clip)  # what a file is, its bytes say
    (tmp_path / "ActionUnit_Labels" / "SN001").mkdir(parents=True)
    for k, unit in enumerate(coded.DISFA_UNITS):
        lines = "".join(f"{i + 1},{(i // 20 + k) % 3}\n" for i in range(41))
        (tmp_path / "ActionUnit_Labels" / "SN001" / f"SN001_au{unit}.txt").write_text(lines)
    found = expression_data.units(tmp_path, levels=True)
    np.testing.assert_array_equal(found.labels[:, :3], [[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    assert found.subjects.tolist() == ["SN001"] * 3 and [file[-3:] for file in found.files] == ["i#1", "#21", "#41"]
    decoded = [frame.grey for frame in video.frames(clip)]
    expected = [crops.find(decoded[i])[0].crop for i in (0, 20, 40)]
    np.testing.assert_array_equal(found.images, expected)
    there = expression_data.units(tmp_path)
    np.testing.assert_array_equal(there.labels, found.labels >= 2)
    for path in (tmp_path / "ActionUnit_Labels" / "SN001").iterdir():
        path.write_text(path.read_text() + "".join(f"{i},0\n" for i in range(42, 62)))
    with pytest.raises(InputError, match="has no frame 61, which has labels"):
        expression_data.units(tmp_path)
    with pytest.raises(InputError, match=r"not a known copy of CK\+ or DISFA"):
        expression_data.units(tmp_path / "Videos_LeftCamera")


# --- who is held back ----------------------------------------------------------------------------------------------


def test_held_back_rows_are_person_disjoint():
    who = np.repeat([f"p{i}" for i in range(20)], 5)
    faces = faces_of(np.arange(100) % 3, who)
    for seed in range(5):
        learn, held = held_back(faces, np.arange(100), seed)
        assert sorted([*learn, *held]) == list(range(100)) and len(held) == 10
        assert not {*who[learn]} & {*who[held]}
    assert not np.array_equal(held_back(faces, np.arange(100), 0)[1], held_back(faces, np.arange(100), 1)[1])


def test_held_back_images_are_stratified():
    labels = np.repeat([0, 1, 2], [50, 30, 2])
    learn, held = held_back(faces_of(labels), np.arange(82), 0)
    assert np.bincount(labels[held], minlength=3).tolist() == [5, 3, 0] and len(learn) == 74
    units = np.column_stack([np.arange(82) % 2.0, np.arange(82) == 7.0])
    for seed in range(8):
        learn, held = held_back(faces_of(units, classes=("AU1", "AU2")), np.arange(82), seed)
        assert len(held) == 8 and 7 not in held  # else nothing of the second unit were left to learn


def test_nothing_is_held_back_where_all_are_needed():
    labels = np.repeat([0, 1, 2], 4)
    learn, held = held_back(faces_of(labels, np.repeat(["a", "b", "c"], 4)), np.arange(12), 0)
    assert len(learn) == 12 and not len(held)


# --- training ------------------------------------------------------------------------------------------------------


def test_training_writes_a_model_with_its_card(tmp_path):
    data, said = tmp_path / "data", []
    for i, fold in enumerate(("train", "validation", "test")):
        class_folders(data / fold, 8 if fold == "train" else 3, seed=i)
    twin = cv2.imread(str(data / "train" / "sad" / "p0_0.png"))
    cv2.imwrite(str(data / "test" / "sad" / "twin.png"), twin)
    card = train(data, tmp_path / "out", TINY, device="cpu", log=said.append)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *("card.json", "curve.csv", "curve.json", "curve.png", "curve.svg", "model.json", "weights.safetensors")
    ]
    assert not list(tmp_path.glob(".*"))
    assert sum(line.startswith("epoch ") for line in said) == 3 and "24 training faces" in said[-4]
    model, _ = checkpoints.load(tmp_path / "out")
    assert model.classes == ("anger", "happiness", "sadness")
    test = expression_data.emotions(data)
    rows = np.flatnonzero(test.roles == "test")
    right = model.predict(test.images[rows]).argmax(axis=1) == test.labels[rows]
    assert len(rows) == 10 and card["accuracy"] == pytest.approx(right.mean()) and card["rows"] == 10
    twin = [Path(test.files[i]).name == "twin.png" for i in rows]
    assert card["also_learnt"] == 1 and card["accuracy_without"] == pytest.approx(right[~np.array(twin)].mean())
    assert card["protocol"].startswith("tested on test") and "9 images of validation" in card["protocol"]
    assert card["device"] == "cpu" and card["counts"] == {"anger": 8, "happiness": 8, "sadness": 8}
    assert json.loads((tmp_path / "out" / "card.json").read_text())["confusion"] == card["confusion"]
    curve = json.loads((tmp_path / "out" / "curve.json").read_text())["expression"]
    assert [row["epoch"] for row in curve] == [1, 2, 3]


@pytest.mark.slow
def test_fer2013_itself(tmp_path):
    """The real collection, hardly learnt: its folds in their roles, and the 280 public-test pictures that are training
    images as well set apart."""
    root = Path(os.environ.get("DUCHENNE_DATA", ""), "data", "fer2013")
    if not (root / "public_test.npz").is_file() or (root / "private_test.npz").is_file():
        pytest.skip("Set DUCHENNE_DATA to a folder with data/fer2013/train.npz and public_test.npz, no private test.")
    card = train(root, tmp_path / "out", replace(TINY, epochs=1, images_per_epoch=64), device="cpu", log=str)
    assert (card["images"], card["rows"], card["also_learnt"]) == (28709, 3589, 280)
    assert card["classes"] == list(fer2013.CLASSES) and "3589 images of public_test" in card["protocol"]
    with np.load(root / "public_test.npz") as data:
        model, _ = checkpoints.load(tmp_path / "out")
        right = model.predict(data["images"]).argmax(axis=1) == data["labels"]
    assert card["accuracy"] == pytest.approx(right.mean(), abs=2e-3)  # half precision turns an answer or two


class Stop(Exception):
    pass


def test_stopped_training_resumes_to_the_same_weights(tmp_path):
    data = class_folders(tmp_path / "data", 10)
    train(data, tmp_path / "whole", TINY, device="cpu", log=str)

    def stop(line):
        if line.startswith("epoch 2"):
            raise Stop

    with pytest.raises(Stop):
        train(data, tmp_path / "parted", TINY, device="cpu", log=stop)
    assert (tmp_path / ".parted.work").is_dir() and not (tmp_path / "parted").exists()
    with pytest.raises(UsageError, match="other images or settings"):
        train(data, tmp_path / "parted", replace(TINY, learning_rate=1e-4), device="cpu", log=str)
    said = []
    train(data, tmp_path / "parted", TINY, device="cpu", log=said.append)
    assert [line.split(":")[0] for line in said if line.startswith("epoch")] == ["epoch 3 of 3"]
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parted")]
    assert weights[0] == weights[1]
    with pytest.raises(Stop):
        train(data, tmp_path / "again", TINY, device="cpu", log=stop)
    train(data, tmp_path / "again", replace(TINY, epochs=1, learning_rate=1e-4), device="cpu", resume=False, log=str)


def test_another_fold_or_folder_chooses_the_epoch(tmp_path):
    data = tmp_path / "data"
    for fold in ("train", "val", "test"):
        class_folders(data / fold, 3)
    other = class_folders(tmp_path / "other", 2, ("sad", "angry"))
    recipe = replace(TINY, epochs=1)
    by_name = train(data, tmp_path / "a", recipe, validation="test", device="cpu", log=str)
    assert by_name["rows"] == 9 and "tested on the images by which the epoch was chosen" in by_name["protocol"]
    by_folder = train(data, tmp_path / "b", recipe, validation=str(other), device="cpu", log=str)
    assert "4 images of validation" in by_folder["protocol"] and by_folder["rows"] == 9
    with pytest.raises(InputError, match=r"There is no folder dev, and .* has test, train, val"):
        train(data, tmp_path / "c", recipe, validation="dev", device="cpu", log=str)
    strange = class_folders(tmp_path / "strange", 2, ("sad", "fear"))
    with pytest.raises(InputError, match="has the class fear, which"):
        train(data, tmp_path / "c", recipe, validation=str(strange), device="cpu", log=str)
    with pytest.raises(UsageError, match="is for emotions, found the head units"):
        train(data, tmp_path / "c", UNITS, device="cpu", log=str)


# --- transfer ------------------------------------------------------------------------------------------------------


def test_finetune_to_other_emotions(tmp_path, known):
    data = class_folders(tmp_path / "data", 6, ("awe", "bored", "calm", "pride"))
    card = finetune(known, data, tmp_path / "out", recipe=TINY, device="cpu", log=str)
    assert card["classes"] == ["awe", "bored", "calm", "pride"] and card["started_from"]["id"] == "tiny"
    model, facts = checkpoints.load(tmp_path / "out")
    assert model.recipe.head == "emotions" and facts["started_from"]["id"] == "tiny"


def test_finetune_of_the_same_emotions_starts_with_the_same_output(tmp_path, known):
    """Frozen, at a rate of nearly nothing: what is saved answers as the network it began with."""
    data = class_folders(tmp_path / "data", 3, ("sad", "happy", "angry"))
    recipe = replace(TINY, freeze_backbone=True, learning_rate=1e-12, epochs=1)
    card = finetune(known, data, tmp_path / "out", recipe=recipe, device="cpu", log=str)
    assert card["classes"] == ["anger", "happiness", "sadness"]
    images = faces_of(np.arange(6) % 3).images
    before, after = (checkpoints.load(place)[0].predict(images) for place in (known, tmp_path / "out"))
    np.testing.assert_allclose(after, before, atol=1e-3)  # weights are kept in half precision


@pytest.mark.slow
def test_cross_validated_scores_are_person_disjoint(tmp_path):
    """Ten people, each a picture of its own, half of whom are said to show AU1 at random: who knows the person knows
    the answer, and about others nothing can be known."""
    rng, rows = np.random.default_rng(0), []
    for i in range(10):
        own = np.kron(rng.integers(0, 256, (6, 6)), np.ones((8, 8)))
        for j in range(5):
            noisy = (0.9 * own + rng.normal(10, 4, (48, 48))).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / f"{i}_{j}.png"), noisy)
            rows.append(f"{i}_{j}.png,{i % 2},person{i}")
    recipe = replace(
        UNITS, kind="paper", widths=(4, 6, 8), blocks=(), fc_size=32, conv_dropout=0.0, dropout=0.0, epochs=12
    )
    faces = faces_of(np.arange(24) % 3)
    learner = ExpressionLearner(
        replace(recipe, head="emotions"), faces.images, faces.labels, faces.classes, device="cpu"
    )
    start, card = checkpoints.save(learner.model(), tmp_path / "start", name="start"), {}
    for name, columns in (("by person", 3), ("by image", 2)):
        lines = [",".join(row.split(",")[:columns]) for row in ("file,AU1,subject", *rows)]
        (tmp_path / "units.csv").write_text("\n".join(lines))
        out = tmp_path / name
        card[name] = finetune(start, tmp_path / "units.csv", out, head="units", recipe=recipe, device="cpu", log=str)
    assert card["by person"]["protocol"].startswith("person-disjoint 5-fold") and card["by person"]["rows"] == 50
    assert "may also be in training" in card["by image"]["protocol"] and card["by image"]["rows"] == 5
    assert card["by image"]["per_unit"]["AU1"]["f1"] == 1.0
    assert card["by person"]["per_unit"]["AU1"]["balanced_accuracy"] < 0.7
    assert card["by person"]["per_unit"]["AU1"]["f1_always"] == pytest.approx(2 / 3)
    # one person alone says nothing of a unit that they always show: two are held back to choose the epoch by
    assert card["by person"]["people"] == 8 and "accuracy" not in card["by person"]


def test_training_on_folds_of_people_with_contempt(tmp_path):
    """Four people in two folds: each face is scored once, by a network trained without its person."""
    path = packed_file(tmp_path / "faces.npz")
    card = train(path, tmp_path / "out", replace(TINY, epochs=1), folds=2, device="cpu", log=str)
    assert card["classes"] == ["happiness", "sadness", "contempt"] and card["rows"] == 12
    assert card["protocol"].startswith("person-disjoint 2-fold") and [f["images"] for f in card["folds"]] == [6, 6]
    assert np.mean([fold["accuracy"] for fold in card["folds"]]) == pytest.approx(card["accuracy"])
    np.savez(tmp_path / "tested.npz", **np.load(path), fold=np.repeat(["train", "test"], [9, 3]))
    for data, folds, fault in (
        (path, 5, "shows 4 people, expected 5 or more"),
        (class_folders(tmp_path / "unnamed"), 2, "does not name its people, which --folds 2 keeps apart"),
        (tmp_path / "tested.npz", 2, "has the test fold test"),
    ):
        with pytest.raises((InputError, UsageError), match=fault):
            train(data, tmp_path / "other", TINY, folds=folds, device="cpu", log=str)
        assert not list(tmp_path.glob("*other*"))


def test_too_few_people_and_people_in_two_folds_are_refused(tmp_path, known):
    rows = ["a.png,ann,1,0", "b.png,bob,0,1", "c.png,ann,0,0", "d.png,bob,1,1"]
    path = unit_table(tmp_path / "units.csv", rows)
    for more, words in (
        ({}, "shows 2 people, expected 5 or more; choose fewer --folds"),
        ({"folds": 1}, "--folds is 1"),
    ):
        with pytest.raises(UsageError, match=words):
            finetune(known, path, tmp_path / "out", head="units", recipe=UNITS, device="cpu", log=str, **more)
    card = finetune(known, path, tmp_path / "out", head="units", recipe=UNITS, folds=0, device="cpu", log=str)
    assert card["protocol"].startswith("not tested: too few") and "mean_f1" not in card
    folds = [f"{row},{fold}" for row, fold in zip(rows, ("train", "train", "test", "test"), strict=True)]
    path.write_text("\n".join(["file,subject,AU1,AU12,fold", *folds]))
    with pytest.raises(InputError, match="Person 'ann' is in two of the folds"):
        finetune(known, path, tmp_path / "next", head="units", recipe=UNITS, device="cpu", log=str)
    with pytest.raises(UsageError, match="for the head emotions, expected units"):
        finetune(known, path, tmp_path / "next", head="units", recipe=TINY, device="cpu", log=str)


@pytest.mark.slow
def test_frozen_features_detect_smiles_of_other_rendered_people(tmp_path, rendered):
    """AU12 there or not and its level, from the shipped network's features as they are. Rendered faces alone: it shows
    that the machinery works, and nothing about people."""
    images, pull, who = rendered
    level, there = np.round(5 * pull / pull.max(), 2), pull > 0.05
    test = np.isin(who, ["person5", "person6", "person7"])
    for head, values in (("units", there.astype(int)), ("intensity", level)):
        lines = ["file,subject,fold,AU12"]
        for i, image in enumerate(images):
            cv2.imwrite(str(tmp_path / f"{i}.png"), image)
            lines.append(f"{i}.png,{who[i]},{'test' if test[i] else 'train'},{values[i]}")
        (tmp_path / f"{head}.csv").write_text("\n".join(lines))
        recipe = ExpressionRecipe.read(
            head,
            freeze_backbone=True,
            epochs=8,
            images_per_epoch=256,
            learning_rate=2e-2,
            batch_size=32,
            warmup_steps=0,
            ema_decay=0.0,
            activity_regularization=[0.0, 0.0],
        )
        card = finetune("expression", tmp_path / f"{head}.csv", tmp_path / head, head=head, recipe=recipe, device="cpu",
                        log=str)  # fmt: skip
        unit = card["per_unit"]["AU12"]
        assert card["protocol"].startswith("tested on test") and unit["coded"] == test.sum()
        if head == "units":
            assert unit["f1"] > 0.8 > 0.65 > unit["f1_always"] and unit["balanced_accuracy"] > 0.85
        else:
            assert unit["icc"] > 0.8 and unit["mae"] < 0.5 * unit["mae_median"]
