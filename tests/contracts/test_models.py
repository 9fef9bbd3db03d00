"""One contract for every kind of model: shapes, seeds, files, refusals; every shipped model keeps it too."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from duchenne import checkpoints
from duchenne.datasets import simulate
from duchenne.errors import InputError, ModelError
from duchenne.features import smile
from duchenne.features.descriptors import FAMILIES
from duchenne.learn.boosting import Recipe
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import READINGS, PBRecipe
from duchenne.metrics.scores import auc
from duchenne.tabular.model import DescriptorModel

#: Shipped models that tell genuine from posed.
JUDGES = [name for name in checkpoints.shipped() if name != "expression"]

SMALL = Recipe(n_estimators=15, colsample_bytree=0.5, max_bin=8, n_boosters=2, folds=4, C=0.1)
KINDS = [*FAMILIES, "smile"]
# far apart in speed, in where they start and in how the head moves: no family is blind to all of it
POSED = replace(simulate.POSED, neutral_before=0.0, onset=0.1, head_motion=4.0)
GENUINE = replace(simulate.SPONTANEOUS, head_motion=0.2)


def unfitted(kind, recipe=SMALL):
    if kind == "smile":
        return DescriptorModel(smile.EXPERT, family="smile", fps=smile.TABLE_FPS, recipe=recipe)
    return DescriptorModel.of_family(kind, recipe=recipe)


@pytest.fixture(scope="module")
def clips():
    """Eight tracks of four people, their labels (1 = genuine), people and emotions."""
    tracks = [simulate.track(GENUINE if i % 2 else POSED, 25.0, seed=i) for i in range(8)]
    labels, people = np.arange(8) % 2, np.array([f"p{i // 2}" for i in range(8)])
    return tracks, labels, people, np.array(["happiness", "sadness"])[labels]


@pytest.fixture(scope="module", params=KINDS)
def fitted(request, clips):
    return unfitted(request.param).fit(*clips)


def test_it_gives_two_probabilities_a_clip(fitted, clips):
    p = fitted.predict_proba(clips[0])
    assert p.shape == (8, 2) and (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_it_learns_eight_separable_clips(fitted, clips):
    assert ((fitted.predict_proba(clips[0])[:, 1] > 0.5) == clips[1]).all()
    assert fitted.facts == {"people": 4, "clips": 8, "genuine": 4}


def test_a_clip_is_judged_the_same_alone_and_in_company(fitted, clips):
    together, alone = fitted.predict_proba(clips[0]), fitted.predict_proba(clips[0][3:4])
    np.testing.assert_allclose(alone[0], together[3], rtol=1e-12)


def test_the_same_seed_gives_the_same_model_file(fitted, clips, tmp_path):
    again = unfitted(fitted.family).fit(*clips)
    np.testing.assert_array_equal(again.predict_proba(clips[0]), fitted.predict_proba(clips[0]))
    folders = [checkpoints.save(m, tmp_path / n, name="same") for m, n in ((fitted, "a"), (again, "b"))]
    assert checkpoints.digest(folders[0]) == checkpoints.digest(folders[1])


def test_a_saved_model_answers_bit_for_bit_the_same(fitted, clips, tmp_path):
    folder = checkpoints.save(fitted, tmp_path / "model", name="mine")
    loaded, about = checkpoints.load(folder)
    x = fitted.table(clips[0])
    np.testing.assert_array_equal(loaded.predict_proba(clips[0]), fitted.predict_proba(clips[0]))
    np.testing.assert_array_equal(
        loaded.fitted.contributions(loaded.inputs(x)), fitted.fitted.contributions(fitted.inputs(x))
    )
    assert loaded.emotions(x) == fitted.emotions(x)
    for mine, theirs in zip(loaded.strange(x), fitted.strange(x), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (loaded.margin, loaded.strange_limit) == (fitted.margin, fitted.strange_limit)
    assert (loaded.names, loaded.family, loaded.fps, loaded.recipe) == (
        fitted.names,
        fitted.family,
        fitted.fps,
        fitted.recipe,
    )
    assert about["id"] == "mine" and about["sha256"] == checkpoints.digest(folder)


def test_its_files_hold_numbers_and_text_only(fitted, tmp_path):
    no_pickle(checkpoints.save(fitted, tmp_path / "model", name="mine"))


def no_pickle(folder):
    files = sorted(folder.iterdir())
    assert {f.suffix for f in files} <= {".json", ".npz", ".md"}
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype == np.float32 for name in arrays.files)
    with zipfile.ZipFile(folder / "arrays.npz") as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())
    for file in files:
        assert not file.read_bytes().startswith(b"\x80"), f"{file} starts like a pickle"
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))


def test_contributions_add_up_to_the_answer(fitted, clips):
    x = fitted.inputs(fitted.table(clips[0]))
    rest = fitted.fitted.logit(x) - fitted.fitted.contributions(x).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-4)


def test_a_clip_without_descriptors_gets_a_finite_answer(fitted):
    nothing = np.full((1, len(fitted.names)), np.nan)
    assert np.isfinite(fitted.fitted.predict_proba(fitted.inputs(nothing))).all()
    assert np.isfinite(fitted.fitted.contributions(fitted.inputs(nothing))).all()
    assert sum(fitted.emotions(nothing)[0].values()) == pytest.approx(1)
    assert fitted.strange(nothing)[0] == 0.0  # what is not measured cannot lie outside


def test_emotions_are_named_probabilities(fitted, clips):
    for row, truth in zip(fitted.emotions(fitted.table(clips[0])), clips[3], strict=True):
        assert set(row) == {"happiness", "sadness"} and sum(row.values()) == pytest.approx(1)
        assert max(row, key=row.get) == truth


def test_a_table_with_its_columns_is_as_good_as_tracks(fitted, clips):
    x = fitted.table(clips[0])
    columns = dict(zip(fitted.names, x.T, strict=True)) | {"comment": np.array(["-"] * 8)}
    np.testing.assert_array_equal(fitted.from_columns(columns, "t.csv"), x)
    lame = {**columns, fitted.names[2]: np.array(["many"] * 8)}
    with pytest.raises(InputError, match=r"t\.csv .* not a number"):
        fitted.from_columns(lame, "t.csv")


def test_it_refuses_before_it_is_fitted_and_with_too_little(fitted, clips):
    tracks, labels, people, _ = clips
    fresh = unfitted(fitted.family)
    with pytest.raises(InputError, match="not been fitted"):
        fresh.predict_proba(tracks)
    with pytest.raises(InputError, match="at least 4 people, found 1"):
        fresh.fit(tracks, labels, np.full(8, "p"))
    with pytest.raises(InputError, match="8 genuine of 8"):
        fresh.fit(tracks, np.ones(8, int), people)
    assert fitted.table([]).shape == (0, len(fitted.names))


# --- LSTM-PB ------------------------------------------------------------------------------------------------


def unfitted_pb(reading):
    """Tiny."""
    sizes = {"hidden_size": 16, "num_layers": 2, "pb_size": 8, "context_size": 8, "epochs": 20, "batch_size": 8}
    own = {"pose": True, "n_networks": 2} if reading == "solved" else {"head": True}
    return PBModel(PBRecipe(reading, learning_rate=1e-2, **sizes, **own))


@pytest.fixture(scope="module", params=READINGS)
def pb(request, clips):
    return unfitted_pb(request.param).fit(*clips)


def test_lstm_pb_gives_two_probabilities_a_clip_and_learns_eight(pb, clips):
    p = pb.predict_proba(clips[0])
    assert p.shape == (8, 2) and (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    # calibrated on people left out, so that 0.5 need not part these eight
    assert auc(p[:, 1], clips[1]) > 0.9
    assert pb.facts == {"people": 4, "clips": 8, "genuine": 4}


def test_lstm_pb_judges_a_clip_the_same_alone_and_in_company(pb, clips):
    together, alone = pb.predict_proba(clips[0]), pb.predict_proba(clips[0][3:4])
    np.testing.assert_allclose(alone[0], together[3], atol=1e-3)  # float32, in batches of other shapes


def test_lstm_pb_of_the_same_seed_is_the_same_file_and_answers_the_same_from_disk(pb, clips, tmp_path):
    again = unfitted_pb(pb.recipe.reading).fit(*clips)
    folders = [checkpoints.save(m, tmp_path / n, name="same") for m, n in ((pb, "a"), (again, "b"))]
    assert checkpoints.digest(folders[0]) == checkpoints.digest(folders[1])
    loaded, about = checkpoints.load(folders[0])
    np.testing.assert_array_equal(loaded.predict_proba(clips[0]), pb.predict_proba(clips[0]))
    assert (loaded.recipe, loaded.margin, loaded.reader) == (pb.recipe, pb.margin, pb.reader)
    assert about["sha256"] == checkpoints.digest(folders[0])
    numbers_only(folders[0])


def numbers_only(folder):
    """JSON, boosters and safetensors (a length in 8 bytes, JSON of that length, then numbers), nothing else."""
    for file in folder.iterdir():
        assert file.suffix in {".json", ".safetensors", ".md", ".png", ".svg"}
        if file.suffix == ".safetensors":
            data = file.read_bytes()
            json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def test_lstm_pb_refuses_before_it_is_fitted_and_with_too_little(pb, clips):
    tracks, labels, people, _ = clips
    fresh = unfitted_pb(pb.recipe.reading)
    with pytest.raises(InputError, match="not been fitted"):
        fresh.predict_proba(tracks)
    with pytest.raises(InputError, match="at least 4 people, found 1"):
        fresh.fit(tracks, labels, np.full(8, "p"))
    with pytest.raises(InputError, match="8 genuine of 8"):
        fresh.fit(tracks, np.ones(8, int), people)
    assert fresh.table([]).shape == (0,)


def test_lstm_pb_per_emotion_needs_both_labels_of_each(clips):
    tracks, labels, people, emotions = clips  # of which each emotion has one label
    model = PBModel(replace(unfitted_pb("rnnpb").recipe, per_emotion=True))
    with pytest.raises(InputError, match="happiness of one label only"):
        model.fit(tracks, labels, people, emotions)
    with pytest.raises(InputError, match="without an emotion"):
        model.fit(tracks, labels, people)


# --- damage -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(clips, tmp_path):
    model = unfitted("movement", replace(SMALL, members=("boosting+linear",))).fit(*clips)
    return checkpoints.save(model, tmp_path / "mine", name="mine")


def rewritten(folder, **changes):
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | changes))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "a flipped bit in the arrays": lambda f: flip(f / "arrays.npz"),
    "a missing file": lambda f: (f / "arrays.npz").unlink(),
    "a file cut short": lambda f: (f / "arrays.npz").write_bytes(b""),
    "another version": lambda f: rewritten(f, version=99),
    "another format": lambda f: rewritten(f, format="something"),
    "no JSON": lambda f: (f / "model.json").write_text("{"),
    "JSON of another shape": lambda f: (f / "model.json").write_text("[1]"),
    "an unknown setting": lambda f: rewritten(f, recipe={"magic": 1}),
    "a lost column": lambda f: rewritten(f, names=["lip_corner_pull.p05"]),
    "an unlisted booster": lambda f: rewritten(f, boosters=50),
    "no calibration": lambda f: rewritten(f, calibration={}),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_model_is_refused_in_one_sentence(what, folder):
    checkpoints.load(folder)
    DAMAGE[what](folder)
    with pytest.raises(ModelError) as caught:
        checkpoints.load(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_wrong_is_named_file_by_file(folder):
    found = checkpoints.read(folder)
    assert found.problems == () and found.sha256 == checkpoints.digest(folder)
    files = sorted(found.about["files"])
    flip(folder / files[0])
    (folder / files[-1]).unlink()
    found = checkpoints.read(folder).problems
    assert len(found) == 2 and files[0] in found[0] and files[-1] in found[1]


def test_an_unknown_model_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ModelError, match="default"):
        checkpoints.load(tmp_path)


# --- shipped ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", JUDGES)
def test_a_shipped_model_is_whole_and_works(name, clips):
    model, about = checkpoints.load(name)
    folder = checkpoints.locate(name)
    (no_pickle if isinstance(model, DescriptorModel) else numbers_only)(folder)
    assert about["id"] == name and len(about["sha256"]) == 64
    p = model.predict_proba(clips[0])
    assert p.shape == (8, 2) and np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    if not isinstance(model, DescriptorModel):
        assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6
        return
    x = model.inputs(model.table(clips[0]))
    rest = model.fitted.logit(x) - model.fitted.contributions(x).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-3)


def test_the_shipped_expression_network_is_whole_and_says_how_good_it_is():
    folder, card = checkpoints.locate("expression"), checkpoints.card("expression")
    numbers_only(folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6
    network, about = checkpoints.load("expression")
    p = network.predict(np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8))
    assert about["id"] == "expression" and p.shape == (3, 7)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    low, high = card["accuracy_interval"]
    assert 0.5 < low < card["accuracy"] < high < 1 and card["images"] > 1000 and card["limits"]
    with pytest.raises(ModelError, match="genuine from posed"):
        checkpoints.load_judge("expression")


@pytest.mark.parametrize("name", JUDGES)
def test_a_shipped_model_says_how_good_it_is_and_on_whom(name):
    card = checkpoints.card(name)
    assert {row["coverage"] for row in card["risk_coverage"]}  # the report shows it
    assert 0.5 < card["accuracy"] < 1 and 0.5 < card["auc"] < 1
    assert card["accuracy_interval"][0] < card["accuracy"] < card["accuracy_interval"][1]
    assert card["people"] >= 4 and card["clips"] >= card["people"]
