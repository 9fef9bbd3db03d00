"""Model folders from strangers, who write file and hash alike: a working model comes of them, or one sentence."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import warnings
import zipfile
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duchenne import checkpoints, io
from duchenne.checkpoints import boosters
from duchenne.checkpoints import tensors as tensor_file
from duchenne.clipnets.model import ClipModel
from duchenne.clipnets.published import published
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.datasets import simulate
from duchenne.errors import DuchenneError, InputError, ModelError
from duchenne.expression.model import ExpressionModel
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.learn.boosting import Recipe
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.methods import inventory, names
from duchenne.methods.cuts import Cuts
from duchenne.methods.hybrid import Hybrid
from duchenne.micro.model import MicroModel
from duchenne.micro.network import MicroLSTM
from duchenne.micro.recipe import MicroRecipe
from duchenne.tabular.model import DescriptorModel

ROWS = 6
#: What a stranger may write where a number, a name or a list should stand.
ODD = (
    *(None, True, -1, 0, 0.5, 10**9, 10**30, 1e308, 10**400, "", "x", "x" * 20_000, "\x1b[31m", "../../x", "\x00"),
    *([], [1], [1, 1], {}, {"a": 1}, [[[[]]]], "nan"),
)


def tracks():
    kinds = (replace(simulate.POSED, onset=0.1, head_motion=4.0), simulate.SPONTANEOUS)
    found = [simulate.track(kinds[i % 2], 25.0, seed=i) for i in range(16)]
    emotions = np.array(["happiness", "sadness"])[np.arange(16) // 2 % 2]
    return found, np.arange(16) % 2, np.array([f"p{i // 2}" for i in range(16)]), emotions


def rows():
    rng, y = np.random.default_rng(0), np.arange(32) % 2
    x = rng.normal(size=(32, ROWS)) + 2 * y[:, None]
    return x, y, np.array([f"p{i // 4}" for i in range(32)]), np.array(["fear", "anger"])[np.arange(32) // 2 % 2]


def descriptors():
    recipe = Recipe(n_estimators=4, max_bin=8, n_boosters=1, folds=3, C=0.1, candidates=("boosting+linear",))
    return DescriptorModel.of_family("movement", recipe=recipe)


def pb(**changes):
    sizes = {"hidden_size": 8, "num_layers": 1, "pb_size": 4, "context_size": 4, "epochs": 1}
    own = {"n_networks": 2} if changes.get("reading") == "solved" else {}
    return PBModel(PBRecipe(**sizes | own | changes))


def clip():
    return ClipModel(ClipRecipe(kind="lstm", inputs="points", hidden_size=8, frames=6, epochs=1, batch_size=8))


def expression():
    recipe = ExpressionRecipe(widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1), precision="float32")
    torch.manual_seed(0)
    return ExpressionModel(ExpressionCNN(recipe.config(["anger", "fear"], [127.5], [60.0])), recipe)


def micro():
    recipe = MicroRecipe(frames=5, hidden_size=6)
    return MicroModel(MicroLSTM(recipe.config(["happiness", "surprise"], 8)), expression(), recipe)


#: Kind → how it is made, and what it is asked.
KINDS = {
    "descriptors": lambda: descriptors().fit(*tracks()),
    "lstm-pb": lambda: pb(reading="solved", head=False, pose=True).fit(*tracks()),
    "boosted pb": lambda: pb(reading="rnnpb", classifier="boosting", n_estimators=4, recognition_steps=2).fit(
        *tracks()
    ),
    "hybrid": lambda: Hybrid(descriptors(), pb(reading="solved", head=False, pose=True)).fit(*tracks()),
    "cuts": lambda: Cuts(Hybrid(descriptors(), descriptors()), Hybrid(descriptors(), descriptors()), descriptors()).fit(
        *tracks()
    ),
    "clip network": lambda: clip().fit(*tracks()),
    "expression": expression,
    "micro": micro,
    **{
        name: lambda name=name: names.make(name).fit_table(*rows())
        for name in ("linear-svm", "boosting", "extra-trees", "table-multi", "two-stage:linear-svm", "stack:boosting")
    },
}
KINDS["stack:boosting+rank-svm"] = lambda: names.make("stack:boosting+rank-svm").fit_table(*rows())
del KINDS["stack:boosting"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of each kind, made when it is first asked for."""
    root, made = tmp_path_factory.mktemp("models"), {}

    def folder(kind):
        if kind not in made:
            made[kind] = checkpoints.save(KINDS[kind](), root / str(len(made)), name="mine")
        return made[kind]

    return folder


def sealed(folder):
    """Let every hash be that of what lies there now, as a stranger would, from the innermost folder out."""
    path = folder / "model.json"
    for inner in sorted(each for each in folder.iterdir() if each.is_dir()):
        sealed(inner)
    try:
        about = json.loads(path.read_text())
    except ValueError:
        return
    for name, hash_of in (("members", checkpoints.digest), ("files", io.sha256)):
        for each in about.get(name) or () if isinstance(about, dict) and isinstance(about.get(name), dict) else ():
            if (folder / each).exists():
                about[name][each] = hash_of(folder / each)
        if name == "members" and isinstance(about, dict) and about.get("format") == "duchenne-method":
            told_in_arrays(folder / "arrays.npz", about)
    path.write_text(json.dumps(about))


def told_in_arrays(path, about):
    """The settings, as they are told now, inside the arrays too, where these can still be read."""
    with suppress(ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        with path.open("rb") as file, np.load(file) as stored:
            arrays = dict(stored)
        told = json.dumps({"settings": about.get("settings"), "members": about.get("members")}, sort_keys=True)
        np.savez(path, **arrays | {"made_for": np.frombuffer(told.encode(), np.uint8)})


def places(value, path=()):
    """Every path to a value in a JSON object."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for key, each in items:
        found += places(each, (*path, key))
    return found


def spoil(folder, rng):
    """One thing about one of the files is not as it was saved."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    path = files[int(rng.integers(len(files)))]
    if path.suffix == ".json" and rng.random() < 0.9:
        about = json.loads(path.read_text())
        keys = places(about)
        *way, last = keys[int(rng.integers(len(keys)))]
        inside = about
        for key in way:
            inside = inside[key]
        if rng.random() < 0.2 and isinstance(inside, dict):
            del inside[last]
        else:
            inside[last] = ODD[int(rng.integers(len(ODD)))]
        path.write_text(json.dumps(about))
    else:
        data = bytearray(path.read_bytes())
        for _ in range(int(rng.integers(1, 9))):
            data[int(rng.integers(len(data) if rng.random() < 0.5 else min(len(data), 400)))] = int(rng.integers(256))
        path.write_bytes(data[: int(rng.integers(len(data)))] if rng.random() < 0.2 else data)


def asked(model):
    """Whatever the model is for, asked once."""
    if isinstance(model, ExpressionModel):
        return model.predict(np.zeros((2, 48, 48), np.uint8))
    if isinstance(model, MicroModel):
        return model.predict(np.zeros((2, 5, model.network.config.inputs), np.float32))
    if hasattr(model, "fitted") or isinstance(model, PBModel | Hybrid | Cuts | ClipModel):
        return model.predict_proba(tracks()[0][:2])
    return model.predict_table(rows()[0][:2])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_a_mutated_folder_loads_or_is_refused_in_one_sentence(kind, kept, tmp_path_factory, seed):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("spoilt") / "model"
    shutil.copytree(kept(kind), folder)
    spoil(folder, rng)
    try:
        sealed(folder)
        with warnings.catch_warnings():  # numbers may be beyond all bounds, but nothing may break
            warnings.simplefilter("ignore")
            model = checkpoints.load(folder)[0]
            answer = asked(model)
        assert answer.ndim == 2 and len(answer) == 2
    except DuchenneError as error:
        assert str(error).endswith(".") and "\n" not in str(error) and len(str(error)) < 1000
    finally:
        shutil.rmtree(folder.parent)


@pytest.mark.parametrize("kind", KINDS)
def test_the_folders_before_mutation_load(kind, kept, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(kept(kind), folder)
    sealed(folder)
    assert np.isfinite(asked(checkpoints.load(folder)[0])).all()


def test_mutated_boosters_are_refused_or_followed_to_an_answer(kept, tmp_path):
    """xgboost itself is ended by about one in eight of such files: the trees are checked before they are followed."""
    data, path = (kept("boosting") / "scorer.xgb.json").read_bytes(), tmp_path / "b.json"
    rng, works, count = np.random.default_rng(0), 0, 60
    for _ in range(count):
        spoilt = bytearray(data)
        for _ in range(int(rng.integers(1, 6))):
            spoilt[int(rng.integers(len(spoilt)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        try:
            found = boosters.read(path, ROWS)
        except ValueError as error:
            assert "\n" not in str(error), error
            continue
        rows = np.stack([np.zeros(ROWS), np.full(ROWS, np.nan)])
        with np.errstate(all="ignore"):
            assert found.log_odds(rows).shape == (2,)
            assert found.contributions(rows).shape == (2, ROWS)
        works += 1
    assert 0 < works < count


def stray(found, columns):
    """Boosters that lead astray, by what is wrong with them: a change to what XGBoost wrote."""
    trees = found["learner"]["gradient_booster"]["model"]["trees"]
    tree = next(each for each in trees if len(each["left_children"]) > 3)
    depth = 70
    nodes = 2 * depth + 1
    left = [i + 1 if i % 2 == 0 and i + 1 < nodes else -1 for i in range(nodes)]
    deep = {
        "tree_param": {**tree["tree_param"], "num_nodes": str(nodes)},
        **{name: [1.0] * nodes for name in ("split_conditions", "base_weights", "sum_hessian", "loss_changes")},
        **{name: [0] * nodes for name in ("split_type", "default_left", "split_indices")},
        "left_children": left,
        "right_children": [i + 1 if i >= 0 else -1 for i in left],
        "parents": [2**31 - 1, *np.repeat(np.arange(depth) * 2, 2).tolist()],
    }
    model, param = found["learner"]["gradient_booster"]["model"], found["learner"]["learner_model_param"]
    return {
        "child": lambda: tree["left_children"].__setitem__(0, 10**6),
        "negative": lambda: tree["right_children"].__setitem__(0, -5),
        "cycle": lambda: tree["left_children"].__setitem__(0, 0),
        "twice": lambda: tree["left_children"].__setitem__(0, tree["right_children"][0]),
        "column": lambda: tree["split_indices"].__setitem__(0, columns),
        "fraction": lambda: tree["split_indices"].__setitem__(0, 0.5),
        "word": lambda: tree["split_conditions"].__setitem__(0, "1"),
        "infinite": lambda: tree["split_conditions"].__setitem__(0, 1e300),
        "short": lambda: tree["parents"].pop(),
        "lost": lambda: tree.pop("parents"),
        "categories": lambda: tree["categories"].append(1),
        "deep": lambda: tree.update(deep),
        "trees": lambda: model["gbtree_model_param"].update(num_trees=str(10**9)),
        "rounds": lambda: model["iteration_indptr"].__setitem__(-1, 10**9),
        "class": lambda: model["tree_info"].__setitem__(0, 7),
        "wide": lambda: param.update(num_feature=str(columns + 1)),
        "names": lambda: found["learner"]["feature_names"].append("a"),
        "kind": lambda: found["learner"]["objective"].update(name="survival:cox"),
        "base": lambda: param.update(base_score="[NaN]"),
    }


ASTRAY = {
    "child": "missing nodes",
    "negative": "missing nodes",
    "cycle": "missing nodes",
    "twice": "visit a node twice",
    "column": "missing columns",
    "fraction": "not integers",
    "word": "not finite",
    "infinite": "not finite",
    "short": "truncated",
    "lost": "missing or has the wrong type",
    "categories": "categorical",
    "deep": "more than 64 levels",
    "trees": "number of trees",
    "rounds": "rounds",
    "class": "classes",
    "wide": "does not read 6 columns",
    "names": "named columns",
    "kind": "another booster",
    "base": "base score",
}


@pytest.mark.parametrize("wrong", ASTRAY)
def test_invalid_trees_are_refused(wrong, kept, tmp_path):
    found = json.loads((kept("boosting") / "scorer.xgb.json").read_text())
    stray(found, ROWS)[wrong]()
    (tmp_path / "b.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match=ASTRAY[wrong]) as caught:
        boosters.read(tmp_path / "b.json", ROWS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"learner": ' * 100_000, '{"learner": NaN}', "1" * 10_000, "[]", '"x"', "\xff", "", "null"]
)
def test_an_invalid_booster_is_refused(text, tmp_path):
    (tmp_path / "b.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="is not a valid booster") as caught:
        boosters.read(tmp_path / "b.json", ROWS)
    assert "\n" not in str(caught.value)


# --- pickles ----------------------------------------------------------------------------------------------------


class Bang:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize(
    "name", ["m.pkl", "model.joblib", "weights.PT", "w.pth", "x.ckpt", "a.npy", "pytorch_model.bin"]
)
def test_a_pickle_is_refused_by_name(name, kept, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(kept("linear-svm"), folder)
    (folder / name).write_bytes(pickle.dumps(Bang(tmp_path / "mark")))
    for what in (folder, folder / name):
        with pytest.raises(ModelError, match=name) as caught:
            checkpoints.load(what)
        assert "pickle" in str(caught.value) and str(caught.value).endswith(".")
    assert not (tmp_path / "mark").exists()


def test_a_pickle_under_a_harmless_name_is_not_read(kept, tmp_path):
    folder = tmp_path / "model"
    for write in (
        lambda path: path.write_bytes(pickle.dumps(Bang(tmp_path / "mark"))),
        lambda path: np.savez(path, centre=np.array([Bang(tmp_path / "mark")], object)),
    ):
        shutil.copytree(kept("linear-svm"), folder)
        write(folder / "arrays.npz")
        sealed(folder)
        with pytest.raises(ModelError, match="damaged"):
            checkpoints.load(folder)
        shutil.rmtree(folder)
    assert not (tmp_path / "mark").exists()


def test_published_weights_that_run_something_are_not_read(tmp_path):
    recipe = ClipRecipe(backbone="resnet50", image_size=16, channels=1, frames=4, hidden_size=8)
    torch.save({"conv1.weight": Bang(tmp_path / "mark")}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds only tensors"):
        published(tmp_path / "w.pth", recipe)
    assert not (tmp_path / "mark").exists()


# --- what lies outside, and what is too large --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../mine/arrays.npz", "/etc/hostname", "..", "", "a/b.npz", "arrays.npz\x00", "x.sh"])
def test_a_file_outside_the_folder_is_never_read(name, kept, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(kept("linear-svm"), folder)
    about = json.loads((folder / "model.json").read_text())
    about["files"][name] = "0" * 64
    (folder / "model.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match=r"names a file|holds control characters"):
        checkpoints.load(folder)


@pytest.mark.parametrize("name", ["../mine", "..", "/", "a/b", "."])
def test_a_member_outside_the_folder_is_never_read(name, kept, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(kept("hybrid"), folder)
    about = json.loads((folder / "model.json").read_text())
    about["members"][name] = "0" * 64
    (folder / "model.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="names a member"):
        checkpoints.load(folder)
    with pytest.raises(ModelError, match="names a member"):
        inventory.weights(checkpoints.read(folder))


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_out_and_pipes_are_refused(kind, kept, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(kept("clip network"), folder)
    weights = folder / "weights.safetensors"
    weights.rename(tmp_path / "elsewhere.safetensors")
    weights.symlink_to(tmp_path / "elsewhere.safetensors") if kind == "link" else os.mkfifo(weights)
    with pytest.raises(ModelError):
        checkpoints.load(folder)


def test_a_link_to_a_member_elsewhere_is_refused(kept, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(kept("hybrid"), folder)
    (folder / "descriptors").rename(tmp_path / "elsewhere")
    (folder / "descriptors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="names a member"):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [("lstm-pb", "hidden_size"), ("clip network", "hidden_size"), ("expression", "widths"), ("micro", "hidden_size")],
)
def test_a_network_that_would_fill_the_memory_is_refused_before_it_is_made(kind, setting, kept, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(kept(kind), folder)
    about = json.loads((folder / "model.json").read_text())
    for size in (10**9, 4000):  # beyond what makes sense, and beyond what the weights hold
        about["recipe"][setting] = [size] * 4 if setting == "widths" else size
        (folder / "model.json").write_text(json.dumps(about))
        with pytest.raises(ModelError, match=r"must lie between|does not hold"):
            checkpoints.load(folder)


@pytest.mark.parametrize("size", [10**9, -1, "8"])
def test_a_table_network_that_would_fill_the_memory_is_refused(size, kept, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(kept("table-multi"), folder)
    about = json.loads((folder / "model.json").read_text())
    about["settings"]["recipe"]["hidden_size"] = size
    (folder / "model.json").write_text(json.dumps(about))
    sealed(folder)
    with pytest.raises(ModelError, match="hidden_size must"):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 10**15]}},
        {"w": {"dtype": "F32", "shape": [1], "data_offsets": [2**63, 2**63 + 4]}},
        {"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}},
        {"w": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
        {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        "[" * 100_000,
    ],
)
def test_a_safetensors_header_that_lies_is_refused(header, tmp_path):
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    with pytest.raises(ValueError, match="truncated or not a safetensors"):
        tensor_file.read(path, "null", lambda found: found, most=2**30)
    path.write_bytes(struct.pack("<Q", 2**60) + text)
    with pytest.raises(ValueError, match="header too large"):
        tensor_file.read(path, "null", lambda found: found, most=2**30)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["lstm-pb", "clip network", "expression", "micro"])
def test_weights_that_are_not_finite_are_refused(value, kind, kept, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(kept(kind), folder)
    path = folder / "weights.safetensors"
    with safe_open(str(path), framework="pt") as stored:
        told = stored.metadata()
    tensors = load_file(str(path))
    first = next(key for key, each in tensors.items() if each.is_floating_point() and each.numel())
    tensors[first].view(-1)[0] = value
    save_file(tensors, str(path), told)
    sealed(folder)
    with pytest.raises(ModelError, match=r"not finite"):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"format": ' * 100_000, '{"format": NaN}', "1" * 10_000, "[]", '"x"', "\xff", ""]
)
def test_an_invalid_model_json_is_refused(text, tmp_path):
    (tmp_path / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match="no model format"):
        checkpoints.load(tmp_path)


def test_a_model_json_of_a_gigabyte_is_not_read(tmp_path):
    with (tmp_path / "model.json").open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(ModelError, match="no model format"):
        checkpoints.load(tmp_path)


def test_a_card_is_bounded_as_well(kept, tmp_path):
    folder = Path(shutil.copytree(kept("linear-svm"), tmp_path / "model"))
    (folder / "card.json").write_text("[" * 200_000)
    with pytest.raises(ModelError, match="card"):
        checkpoints.card(folder)
