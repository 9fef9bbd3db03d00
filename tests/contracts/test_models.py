"""One contract for every family of models: shapes, company, seeds, files, refusals; shipped models keep it too."""

import json
import warnings
from functools import cache

import numpy as np
import pytest

from duchenne import checkpoints
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.methods import names
from duchenne.metrics.scores import auc
from duchenne.tabular.model import DescriptorModel
from duchenne.types import Classifier, Question
from families import FAMILIES, JUDGES, LEARNERS, lstm_pb, meshed, tracks

#: Shipped models that tell genuine from posed.
SHIPPED = [name for name in checkpoints.shipped() if name not in ("expression", "visibility", "units")]
KINDS = [name for name in FAMILIES if name.startswith("descriptors:")]
RANKING = ("rank-svm", "stack:linear-svm+rank-svm", "stack of all")


@cache
def fitted(name):
    """A family's model and what it learnt from: (model, x, labels, people, emotions)."""
    return (FAMILIES[name].fit(), *FAMILIES[name].data())


@cache
def answered(name):
    """What that model answers of those clips."""
    return FAMILIES[name].answer(*fitted(name)[:2])


#: Which differ from others by the backbone or by what they combine alone, and take long.
LARGE = (
    *("vgg16-lstm", "resnet50-lstm", "se-resnet50-lstm", "resnet50-single", "resnet3d-18"),
    "two-stage:extra-trees/rank-svm",
)


def each_of(names):
    """The large ones are slow."""
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in names]
    )


each = each_of(FAMILIES)
each_judge = each_of(JUDGES)


@each
def test_it_gives_probabilities_of_every_clip_that_add_up_to_one(name):
    p, x = answered(name), fitted(name)[1]
    assert p.dtype == np.float64 and len(p) == len(x) and p.ndim == 2 and (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)


@each_judge
def test_it_is_a_classifier(name):
    model, x, *_ = fitted(name)
    assert isinstance(model, Classifier) and answered(name).shape == (len(x), 2)
    assert 0 <= model.margin <= 0.5 and model.needs in ("points", "crops") and hash(model.reader) == hash(model.reader)
    assert model.out_of_fold.shape == (len(x),) and np.isfinite(model.out_of_fold).any()
    assert (model.rank_table(x) is not None) == (name in RANKING)
    assert model.part(type(model)) is model and model.part(dict) is None


@each
def test_a_clip_is_judged_the_same_alone_and_in_company(name):
    model, x, *_ = fitted(name)
    alone = FAMILIES[name].answer(model, x[3:4])
    np.testing.assert_allclose(alone[0], answered(name)[3], atol=FAMILIES[name].apart)


@each_judge
def test_unreadable_clips_get_nan_and_change_nothing(name):
    model, x, *_ = fitted(name)
    if x.dtype == object:
        some = x[2:4].copy()
        some[1] = None
        p = model.predict_table(some)
        assert np.isnan(p[1]).all()
        np.testing.assert_allclose(p[0], answered(name)[2], atol=FAMILIES[name].apart)


@each_of([name for name, family in FAMILIES.items() if family.learns])
def test_it_fits_its_training_clips(name):
    p, y = answered(name), fitted(name)[2]
    if name in KINDS or p.shape[1] > 2:
        assert (p.argmax(axis=1) == y).all()
    else:  # calibrated on people left out, so that 0.5 need not part so few
        assert auc(p[:, 1], y) > 0.9


#: Not fitted twice: the code of other families trains them, from which they differ by backbone or what they combine.
ALIKE = (
    *(*LARGE, "resnet50-multi", "lstm-pb:published-code", "lstm-pb:rnnpb", "table-binary", "table-single"),
    *("two-stage of lstm-pb", "stack of all"),
)


@each
def test_the_same_seed_is_the_same_file_which_answers_the_same(name, tmp_path):
    family, (model, x, *_) = FAMILIES[name], fitted(name)
    again = model if name in ALIKE else family.fit()
    folders = [checkpoints.save(m, tmp_path / n, name="same") for m, n in ((model, "a"), (again, "b"))]
    assert checkpoints.digest(folders[0]) == checkpoints.digest(folders[1])
    loaded, about = checkpoints.load(folders[0])
    assert type(loaded) is type(model) and loaded.recipe == model.recipe and loaded.facts == model.facts
    assert about["id"] == "same" and about["sha256"] == checkpoints.digest(folders[0])
    if name == "expression":  # stored in half precision
        np.testing.assert_allclose(family.answer(loaded, x), answered(name), atol=0.02)
        return
    np.testing.assert_array_equal(family.answer(loaded, x), answered(name))
    if name == "micro":
        return
    assert (loaded.margin, loaded.reader, loaded.needs) == (model.margin, model.reader, model.needs)
    if name in RANKING:
        np.testing.assert_array_equal(loaded.rank_table(x), model.rank_table(x))
    assert checkpoints.digest(checkpoints.save(loaded, tmp_path / "c", name="same")) == about["sha256"]
    as_is = names.make(f"as-is:{folders[0]}")
    np.testing.assert_array_equal(as_is.fit_table(x, x, x).predict_table(x), answered(name))


@each
def test_its_files_hold_numbers_and_text_only(name, tmp_path):
    numbers_only(checkpoints.save(fitted(name)[0], tmp_path / "model", name="mine"))


def numbers_only(folder):
    """JSON, boosters, arrays, safetensors (a length in 8 bytes, JSON of that length, then numbers), nothing else."""
    for file in (file for file in folder.rglob("*") if file.is_file()):
        assert file.suffix in {".json", ".npz", ".safetensors", ".md", ".png", ".svg"}
        data = file.read_bytes()
        assert file.suffix == ".safetensors" or not data.startswith(b"\x80"), f"{file} starts like a pickle"
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                assert all(arrays[key].dtype.kind in "fiu" for key in arrays.files)
        if file.suffix == ".safetensors":
            json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        if file.suffix == ".json":
            json.loads(data, parse_constant=lambda text: pytest.fail(text))


@each_judge
def test_it_refuses_before_it_is_fitted_and_with_too_little(name, tmp_path):
    x, y, people, emotions = fitted(name)[1:]
    fresh = FAMILIES[name].make()
    refused = [
        lambda: fresh.predict_table(x),
        lambda: fresh.fit_table(x, y, np.full(len(y), "p"), emotions),
        lambda: fresh.fit_table(x, np.ones(len(y), int), people, emotions),
    ]
    for number, ask in enumerate(refused):
        with pytest.raises(InputError) as caught, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ask()
        said = str(caught.value)
        assert said.endswith(".") and "\n" not in said and ("not been fitted" in said) == (number == 0)
    with pytest.raises(InputError, match="not been fitted"):
        checkpoints.save(FAMILIES[name].make(), tmp_path / "none", name="none")


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.tracks])
def test_its_opinion_is_its_answer_with_reasons(name):
    model, track = fitted(name)[0], FAMILIES[name].clips()[0][1]
    said = model.opinion(Question(track, model="mine"))
    assert said.p == pytest.approx(model.predict_proba([track])[0, 1], abs=1e-9)
    # groups of descriptors are named only where they change the answer more than trembling does
    assert said.evidence or model.part(DescriptorModel) is not None
    assert all(item.text.endswith(".") and np.isfinite(item.contribution) for item in said.evidence)
    assert not model.opinion(Question(track, explain=False)).evidence
    short = track.take("cut", np.arange(1))
    silent = model.opinion(Question(short))
    assert silent.reason and silent.reason.endswith(".") and not silent.evidence


@each_of(LEARNERS)
def test_gradients_reach_every_weight(name):
    learner, reached = LEARNERS[name](), set()
    weights = dict(learner.network.named_parameters())
    for key, weight in weights.items():
        weight.register_hook(lambda slope, key=key: reached.add(key) if slope.any() else None)
    for epoch in range(2):  # what ends a residual block is 0 at the beginning: nothing reaches what stands before it
        assert np.isfinite(list(learner.epoch(np.random.default_rng(epoch), 1.0))).all()
    assert set(weights) - reached == set()


def test_every_learner_is_held_to_this_contract():
    held = {name.partition(":")[0] for name in FAMILIES} | {"default", "smile", "single", "multi"}
    assert set(names.LEARNERS) <= held


# --- descriptors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_descriptor_model_explains_the_same(name, tmp_path):
    model, x, *_ = fitted(name)
    loaded = checkpoints.load_classifier(checkpoints.save(model, tmp_path / "model", name="mine"))[0]
    inputs = model.inputs(x)
    np.testing.assert_array_equal(loaded.fitted.contributions(loaded.inputs(x)), model.fitted.contributions(inputs))
    assert loaded.emotions(x) == model.emotions(x) and loaded.familiar_limit == model.familiar_limit
    for mine, theirs in zip(loaded.unfamiliarity(x), model.unfamiliarity(x), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    rest = model.fitted.logit(inputs) - model.fitted.contributions(inputs).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-4)  # contributions and a constant are the answer


@pytest.mark.parametrize("name", KINDS)
def test_a_clip_without_descriptors_gets_a_finite_answer(name):
    model = fitted(name)[0]
    nothing = np.full((1, len(model.names)), np.nan)
    assert np.isfinite(model.predict_table(nothing)).all()
    assert np.isfinite(model.fitted.contributions(model.inputs(nothing))).all()
    assert sum(model.emotions(nothing)[0].values()) == pytest.approx(1)
    assert model.unfamiliarity(nothing)[0] == 0.0  # what is not measured cannot lie outside
    assert model.table([]).shape == (0, len(model.names))


@pytest.mark.parametrize("name", KINDS)
def test_emotions_are_named_probabilities_and_columns_as_good_as_tracks(name):
    model, x, _, _, emotions = fitted(name)
    for row, truth in zip(model.emotions(x), emotions, strict=True):
        assert set(row) == {"happiness", "sadness"} and sum(row.values()) == pytest.approx(1)
        assert max(row, key=row.get) == truth
    columns = dict(zip(model.names, x.T, strict=True)) | {"comment": np.array(["-"] * 8)}
    np.testing.assert_array_equal(model.from_columns(columns, "t.csv"), x)
    with pytest.raises(InputError, match=r"t\.csv .* not a number"):
        model.from_columns({**columns, model.names[2]: np.array(["many"] * 8)}, "t.csv")


# --- others ---------------------------------------------------------------------------------------------------------


def test_lstm_pb_per_emotion_needs_both_labels_of_each():
    clips = tracks()  # of which each emotion has one label
    model = lstm_pb("rnnpb", per_emotion=True)
    with pytest.raises(InputError, match="happiness with one label only"):
        model.fit(*clips)
    with pytest.raises(InputError, match="without an emotion"):
        model.fit(*clips[:3])


def test_a_loaded_model_is_not_fitted_again_and_other_columns_are_refused(tmp_path):
    for name in ("two-stage:linear-svm", "stack:linear-svm+rank-svm"):
        model, *data = fitted(name)
        loaded = checkpoints.load_classifier(checkpoints.save(model, tmp_path / name, name="x"))[0]
        with pytest.raises(UsageError, match="A loaded model cannot be fitted"):
            loaded.fit_table(*data)
    for name in ("linear-svm", "table-multi", "two-stage:linear-svm"):
        with pytest.raises(InputError, match="trained on 6 numbers per clip, found 9"):
            fitted(name)[0].predict_table(np.zeros((1, 9)))


# --- shipped --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_whole_and_works(name):
    model, about = checkpoints.load_classifier(name)
    folder, clips = checkpoints.locate(name), (meshed() if model.face_reader == "mesh" else tracks())[0]
    numbers_only(folder)
    assert about["id"] == name and len(about["sha256"]) == 64
    p = model.predict_proba(clips)
    assert p.shape == (8, 2) and np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    if not isinstance(model, DescriptorModel):
        assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6
        return
    x = model.inputs(model.table(clips))
    rest = model.fitted.logit(x) - model.fitted.contributions(x).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-3)


def test_the_shipped_expression_network_is_whole_and_says_how_good_it_is():
    folder, card = checkpoints.locate("expression"), checkpoints.card("expression")
    numbers_only(folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6
    network, about = checkpoints.load("expression")
    p = network.predict(np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8))
    assert about["id"] == "expression" and p.shape == (3, 8)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    low, high = card["accuracy_interval"]
    assert 0.5 < low < card["accuracy"] < high < 1 and card["images"] > 1000 and card["limits"]
    with pytest.raises(ModelError, match="genuine from posed"):
        checkpoints.load_classifier("expression")


def test_the_shipped_visibility_network_is_whole_and_says_how_good_it_is():
    folder, card = checkpoints.locate("visibility"), checkpoints.card("visibility")
    numbers_only(folder)
    network, about = checkpoints.load("visibility")
    p = network.predict(np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8))
    assert about["id"] == "visibility" and network.classes == ("mouth", "eyes") and p.shape == (3, 2)
    assert all(each[part]["auc"] > 0.98 for each in card["held_back"].values() for part in ("mouth", "eyes"))
    assert card["limits"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_says_how_good_it_is_and_on_whom(name):
    card = checkpoints.card(name)
    assert {row["coverage"] for row in card["risk_coverage"]}  # the report shows it
    assert 0.5 < card["accuracy"] < 1 and 0.5 < card["auc"] < 1
    assert card["accuracy_interval"][0] < card["accuracy"] < card["accuracy_interval"][1]
    assert card["people"] >= 4 and card["clips"] >= card["people"]
