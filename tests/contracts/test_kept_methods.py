"""One contract for every method that has no network of its own: kept on disk it answers the same, or is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from duchenne import checkpoints, io
from duchenne.checkpoints import parts
from duchenne.clipnets.model import ClipModel
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.datasets import simulate
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.learn.boosting import Recipe
from duchenne.learn.scorers import Trees
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.methods import names
from duchenne.methods.hybrid import Hybrid
from duchenne.methods.stack import Stack
from duchenne.methods.two_stage import TwoStage
from duchenne.tabular.model import DescriptorModel
from duchenne.tabular.rows import Reader

#: Every learner of numbers, and both combinators over them, over one another and over all first stages.
NAMES = (
    *("boosting", "linear-svm", "rank-svm", "extra-trees", "table-binary", "table-single", "table-multi"),
    *("two-stage:linear-svm", "two-stage:boosting/extra-trees", "two-stage:extra-trees/rank-svm"),
    *("two-stage:table-multi", "conditioned:boosting", "conditioned:linear-svm"),
    *("stack:linear-svm+rank-svm", "stack:boosting+two-stage:linear-svm"),
)
#: Held by test_models and test_clip_models, by the same words.
ELSEWHERE = {"default", "descriptors", "smile", "lstm-pb", "single", "multi", *names.CLIP_NETS}
ON_TRACKS = ("stack", "apart")


def people():
    """Rows, labels, people and emotions: column 1 tells the label anywhere, column 0 within a person only."""
    rng = np.random.default_rng(0)
    y, who = np.arange(64) % 2, np.arange(64) // 4
    x = rng.normal(size=(64, 6))
    x[:, 0] = 50.0 * rng.normal(size=16)[who] + y
    x[:, 1] += 3 * y
    x[:, 2] += 4 * (np.arange(64) // 2 % 2)
    x[5, 3] = np.nan
    return x, y, np.array([f"p{i}" for i in who]), np.array(["fear", "anger"])[np.arange(64) // 2 % 2]


@cache
def tracks():
    kinds = {"posed": replace(simulate.POSED, onset=0.1, head_motion=4.0), "genuine": simulate.SPONTANEOUS}
    found = [simulate.track(kinds[("posed", "genuine")[i % 2]], 25.0, seed=i) for i in range(24)]
    y, who = np.arange(24) % 2, np.array([f"p{i // 4}" for i in range(24)])
    return found, y, who, np.array(["happiness", "sadness"])[np.arange(24) // 2 % 2]


def tiny_descriptors():
    return DescriptorModel.of_family("movement", recipe=Recipe(rounds=8, bins=8, bag=1, folds=3, penalty=0.1))


def tiny_pb():
    return PBModel(PBRecipe("solved", head=False, pose=True, hidden=8, layers=1, pb=4, context=4, epochs=2, bag=2))


def tiny_clip():
    sizes = {"hidden": 8, "frames": 6, "epochs": 1, "batch": 8, "bag": 1, "held_out": 0.5}
    return ClipModel(ClipRecipe(kind="lstm", inputs="points", **sizes))


def of_movement():
    return names.make("rank-svm:movement")


def of_both():
    return Hybrid(tiny_descriptors(), tiny_pb())


@cache
def fitted(name):
    if name == "stack":
        return Stack((tiny_descriptors, tiny_pb, tiny_clip, of_movement, of_both)).fit(*tracks())
    if name == "apart":
        return TwoStage(tiny_pb).fit(*tracks())
    return names.make(name).fit_table(*people())


def asked(name, model):
    return model.table(tracks()[0]) if name in ON_TRACKS else people()[0]


@pytest.fixture(params=[*NAMES, *ON_TRACKS])
def name(request):
    return request.param


def test_every_learner_is_held_to_a_contract():
    held = {part.partition(":")[0] for part in NAMES}
    assert held | ELSEWHERE == set(names.LEARNERS)


def test_kept_it_answers_bit_for_bit_the_same(name, tmp_path):
    model = fitted(name)
    model.facts = {"people": 16, "method": name}
    folder = checkpoints.save(model, tmp_path / "mine", name="mine")
    loaded, about = checkpoints.load_judge(folder)
    x = asked(name, model)
    np.testing.assert_array_equal(loaded.predict_table(x), model.predict_table(x))
    assert type(loaded) is type(model) and loaded.margin == model.margin and loaded.facts == model.facts
    assert loaded.reader == model.reader and hash(loaded.reader) == hash(model.reader)
    ranks = [each.rank_table(x) if hasattr(each, "rank_table") else None for each in (model, loaded)]
    assert (ranks[0] is None) == (ranks[1] is None) == (name not in ("rank-svm", "stack:linear-svm+rank-svm", "stack"))
    if ranks[0] is not None:
        np.testing.assert_array_equal(*ranks)
    if hasattr(model, "emotions") and name != "table-binary":
        np.testing.assert_array_equal(loaded.emotions(x), model.emotions(x))
    assert about["id"] == "mine" and about["sha256"] == checkpoints.digest(folder) and about["people"] == 16
    again = checkpoints.save(loaded, tmp_path / "again", name="mine")
    assert checkpoints.digest(again) == checkpoints.digest(folder)
    as_is = names.make(f"as-is:{folder}")
    np.testing.assert_array_equal(as_is.fit_table().predict_table(x), model.predict_table(x))
    for file in folder.rglob("*"):
        assert file.is_dir() or (file.suffix in (".json", ".npz", ".safetensors"))
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as stored:
                assert all(stored[key].dtype.kind in "fiu" for key in stored.files)


def test_a_forest_answers_as_the_one_it_was():
    from sklearn.ensemble import ExtraTreesClassifier

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(120, 7)), rng.integers(0, 3, 120)
    forest = ExtraTreesClassifier(20, max_features=0.3, random_state=0).fit(x, y)
    new = rng.normal(size=(50, 7))
    new[:5] = x[:5].astype(np.float32)  # on thresholds' own side
    np.testing.assert_allclose(Trees.of(forest, genuine=False)(new), forest.predict_proba(new), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(Trees.of(forest, genuine=False)(new[3:4])[0], Trees.of(forest, genuine=False)(new)[3])


# --- damage -----------------------------------------------------------------------------------------------------------


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rewritten(folder, change):
    about = json.loads((folder / "model.json").read_text())
    change(about)
    (folder / "model.json").write_text(json.dumps(about))


def rearranged(folder, **changes):
    """Other arrays or settings, by somebody who mends every hash."""
    with np.load(folder / "arrays.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    about = json.loads((folder / "model.json").read_text())
    about["settings"] |= changes.pop("settings", {})
    arrays["made_for"] = np.frombuffer(parts.made_for(about["settings"], about["members"]).encode(), np.uint8)
    np.savez(folder / "arrays.npz", **{key: value for key, value in (arrays | changes).items() if value is not None})
    about["files"]["arrays.npz"] = io.sha256(folder / "arrays.npz")
    (folder / "model.json").write_text(json.dumps(about))


def loop(folder):
    with np.load(folder / "arrays.npz") as stored:
        left = stored["scorer.left"].copy()
    left[left[0]] = 0
    rearranged(folder, **{"scorer.left": left})


DAMAGE = {
    "a flipped bit in the arrays": ("extra-trees", lambda f: flip(f / "arrays.npz")),
    "a flipped bit in a booster": ("boosting", lambda f: flip(f / "scorer.xgb.json")),
    "a missing booster": ("boosting", lambda f: (f / "scorer.xgb.json").unlink()),
    "arrays cut short": ("linear-svm", lambda f: (f / "arrays.npz").write_bytes(b"PK")),
    "another scale": ("linear-svm", lambda f: rewritten(f, lambda a: a["settings"].update(slope=-1.0))),
    "no settings": ("linear-svm", lambda f: rewritten(f, lambda a: a.pop("settings"))),
    "settings of another shape": ("linear-svm", lambda f: rewritten(f, lambda a: a.update(settings=[1]))),
    "no files": ("linear-svm", lambda f: rewritten(f, lambda a: a.update(files={}))),
    "a part too few": ("stack:linear-svm+rank-svm", lambda f: shutil.rmtree(f / "member-1")),
    "a part too many": ("two-stage:linear-svm", lambda f: rewritten(f, lambda a: a["members"].update({"../x": "0"}))),
    "a flipped bit in a part": ("two-stage:linear-svm", lambda f: flip(f / "member-1" / "arrays.npz")),
    "another scale of a part": (
        "two-stage:linear-svm",
        lambda f: rewritten(f / "member-0", lambda a: a["settings"].update(slope=-1.0)),
    ),
    "trees that never end": ("extra-trees", loop),
    "a column too few": ("linear-svm", lambda f: rearranged(f, centre=np.zeros(5))),
    "weights that are no numbers": (
        "linear-svm",
        lambda f: rearranged(f, **{"scorer.weights": np.full((1, 6), np.inf)}),
    ),
    "a weight too many": ("stack:linear-svm+rank-svm", lambda f: rearranged(f, weights=np.zeros(3))),
    "no spread": ("table-multi", lambda f: rearranged(f, spread=np.zeros(6))),
    "a lost layer": ("table-multi", lambda f: rearranged(f, **{"0.head.bias": None})),
    "text for numbers": ("linear-svm", lambda f: rearranged(f, centre=np.array(["a"] * 6))),
    "another kind": ("linear-svm", lambda f: rearranged(f, settings={"kind": "oracle"})),
    "another kind of network": ("table-multi", lambda f: rearranged(f, settings={"recipe": {"kind": "oracle"}})),
    "a scale that is none": ("boosting", lambda f: rearranged(f, settings={"slope": None})),
    "a judge of nothing": ("two-stage:linear-svm", lambda f: rearranged(f, settings={"judges": {"joy": "member-0"}})),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_method_is_refused_in_one_sentence(what, tmp_path):
    name, damage = DAMAGE[what]
    folder = checkpoints.save(fitted(name), tmp_path / "mine", name="mine")
    checkpoints.load(folder)
    damage(folder)
    with pytest.raises(ModelError) as caught:
        checkpoints.load(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    folder = checkpoints.save(fitted("linear-svm"), tmp_path / "mine", name="mine")
    monkeypatch.setattr(parts, "_MOST", 100)
    with pytest.raises(ModelError, match="larger than"):
        checkpoints.load(folder)


def test_what_is_not_fitted_is_not_kept_and_what_is_loaded_learns_no_more(tmp_path):
    for name in ("linear-svm", "table-multi", "two-stage:linear-svm", "stack:linear-svm+boosting"):
        with pytest.raises(InputError, match="not been fitted"):
            checkpoints.save(names.make(name), tmp_path / "none", name="none")
    for name in ("two-stage:linear-svm", "stack:linear-svm+rank-svm"):
        loaded = checkpoints.load_judge(checkpoints.save(fitted(name), tmp_path / name, name="x"))[0]
        with pytest.raises(UsageError, match="finished"):
            loaded.fit_table(*people())


def test_rows_with_other_columns_are_refused():
    for name in ("linear-svm", "table-multi", "two-stage:linear-svm"):
        with pytest.raises(InputError, match="trained on 6 numbers a clip, and 9 were read"):
            fitted(name).predict_table(np.zeros((1, 9)))


def test_a_kept_method_on_numbers_does_not_load_torch(tmp_path):
    folder = checkpoints.save(fitted("two-stage:linear-svm"), tmp_path / "mine", name="mine")
    code = f"import sys; from duchenne import checkpoints; checkpoints.load_judge({str(folder)!r})\n"
    subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=True)


def test_its_reader_is_what_it_was(tmp_path):
    model = fitted("linear-svm")
    assert checkpoints.load_judge(checkpoints.save(model, tmp_path / "m", name="m"))[0].reader == Reader("all")
