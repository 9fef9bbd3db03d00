"""A damaged model folder is refused in one sentence, whatever kind of model it holds and whatever was done to it."""

import json
import shutil
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from duchenne import checkpoints, io
from duchenne.checkpoints import parts
from duchenne.errors import ModelError
from duchenne.learn.scorers import Trees
from families import FAMILIES


@cache
def fitted(name):
    return FAMILIES[name].fit()


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
    **{
        f"{what} of {name}": (name, damage)
        for name, weights in (("descriptors:movement", "arrays.npz"), ("points-multi", "weights.safetensors"))
        for what, damage in {
            "a flipped bit": lambda f, weights=weights: flip(f / weights),
            "a missing file": lambda f, weights=weights: (f / weights).unlink(),
            "a file cut short": lambda f, weights=weights: (f / weights).write_bytes(b""),
            "another version": lambda f: rewritten(f, lambda a: a.update(version=99)),
            "another format": lambda f: rewritten(f, lambda a: a.update(format="something")),
            "no JSON": lambda f: (f / "model.json").write_text("{"),
            "JSON of another shape": lambda f: (f / "model.json").write_text("[1]"),
            "an unknown setting": lambda f: rewritten(f, lambda a: a.update(recipe={"magic": 1})),
            "no calibration": lambda f: rewritten(f, lambda a: a.update(calibration={})),
        }.items()
    },
    "a lost column": ("descriptors:movement", lambda f: rewritten(f, lambda a: a["names"].pop())),
    "an unlisted booster": ("descriptors:movement", lambda f: rewritten(f, lambda a: a.update(boosters=50))),
    "another network": ("points-multi", lambda f: rewritten(f, lambda a: a["recipe"].update(hidden_size=9))),
    "another bag": ("points-multi", lambda f: rewritten(f, lambda a: a.update(networks=7))),
    "other emotions": ("points-multi", lambda f: rewritten(f, lambda a: a.update(emotions=["anger", "fear"]))),
    "another layout": ("points-multi", lambda f: rewritten(f, lambda a: a.update(layout="something"))),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_model_is_refused_in_one_sentence(what, tmp_path):
    name, damage = DAMAGE[what]
    folder = checkpoints.save(fitted(name), tmp_path / "mine", name="mine")
    checkpoints.load(folder)
    damage(folder)
    with pytest.raises(ModelError) as caught:
        checkpoints.load(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_wrong_is_named_file_by_file(tmp_path):
    folder = checkpoints.save(fitted("descriptors:movement"), tmp_path / "mine", name="mine")
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


def test_an_archive_bomb_is_not_unpacked(tmp_path, monkeypatch):
    folder = checkpoints.save(fitted("linear-svm"), tmp_path / "mine", name="mine")
    monkeypatch.setattr(parts, "_MOST", 100)
    with pytest.raises(ModelError, match="larger than"):
        checkpoints.load(folder)


def test_a_kept_method_on_numbers_does_not_load_torch(tmp_path):
    folder = checkpoints.save(fitted("two-stage:linear-svm"), tmp_path / "mine", name="mine")
    code = f"import sys; from duchenne import checkpoints; checkpoints.load_classifier({str(folder)!r})\n"
    subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=True)


def test_a_saved_forest_predicts_as_scikit_learn():
    from sklearn.ensemble import ExtraTreesClassifier

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(120, 7)), rng.integers(0, 3, 120)
    forest = ExtraTreesClassifier(20, max_features=0.3, random_state=0).fit(x, y)
    new = rng.normal(size=(50, 7))
    new[:5] = x[:5].astype(np.float32)  # on thresholds' own side
    np.testing.assert_allclose(Trees.of(forest, genuine=False)(new), forest.predict_proba(new), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(Trees.of(forest, genuine=False)(new[3:4])[0], Trees.of(forest, genuine=False)(new)[3])
