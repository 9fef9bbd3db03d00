"""Methods by name, rank SVM and rows of numbers: against brute force and what can be reasoned out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from duchenne.datasets import simulate
from duchenne.errors import InputError, UsageError
from duchenne.features import smile
from duchenne.features.descriptors import FAMILIES
from duchenne.learn.rank_svm import RankSVM, pairs
from duchenne.lstm_pb.recipe import READINGS, PBRecipe
from duchenne.methods import names
from duchenne.methods.hybrid import Hybrid
from duchenne.tabular.model import DescriptorModel
from duchenne.tabular.rows import Reader
from duchenne.types import Features


def people(n=60, d=6, seed=0, shift=1.0):
    """Rows (N, D) of n/4 persons: column 0 tells the label within a person only, column 1 tells it anywhere."""
    rng = np.random.default_rng(seed)
    y, who = np.arange(n) % 2, np.arange(n) // 4
    x = rng.normal(size=(n, d))
    x[:, 0] = 50.0 * rng.normal(size=n // 4)[who] + y
    x[:, 1] += 3 * shift * y
    return x, y, np.array([f"p{i}" for i in who]), np.array(["fear", "anger"])[np.arange(n) // 2 % 2]


def test_pairs_are_those_of_a_double_loop():
    _, y, who, what = people(40)
    expected = [
        (i, j)
        for i in range(40)
        for j in range(40)
        if y[i] == 1 and y[j] == 0 and who[i] == who[j] and what[i] == what[j]
    ]
    assert sorted(zip(*(rows.tolist() for rows in pairs(y, who, what)), strict=True)) == sorted(expected)
    assert len(pairs(y, who)[0]) == 2 * len(expected)  # without emotions the two emotions of a person mix


def test_a_rank_svm_is_the_svm_on_both_orders_of_all_pairs():
    from sklearn.svm import LinearSVC

    x, y, who, what = people()
    found = RankSVM(members=1, share=1.0).fit(x, y, who, what)
    rows = [x[i] - x[j] for i, j in zip(*pairs(y, who, what), strict=True)]
    both = np.array(rows + [-row for row in rows])
    spread = np.sqrt((both**2).mean(axis=0))
    labels = [1] * len(rows) + [0] * len(rows)
    svm = LinearSVC(C=1.0, loss="hinge", fit_intercept=False, max_iter=200000, random_state=0)
    expected = svm.fit(both / spread, labels).coef_[0] / spread
    np.testing.assert_allclose(found.weights, expected, rtol=0.05, atol=0.02)
    right = found.scores(x)[pairs(y, who, what)[0]] > found.scores(x)[pairs(y, who, what)[1]]
    assert right.all()


def test_a_rank_svm_sees_what_only_a_person_s_own_clips_tell():
    x, y, who, what = people(80)
    x[:, 1] = 0.0  # left is column 0: hidden between persons by their fifty times larger differences
    train, test = np.arange(80) < 60, np.arange(80) >= 60
    model = names.make("rank-svm").fit_table(x[train], y[train], who[train], what[train])
    rank, p = model.rank_table(x[test]), model.predict_table(x[test])[:, 1]
    genuine, posed = pairs(y[test], who[test], what[test])
    assert (rank[genuine] > rank[posed]).all()
    assert roc_auc_score(y[test], p) < 0.8


def test_a_rank_svm_without_pairs_is_refused():
    x, y, _, _ = people(8)
    with pytest.raises(InputError, match="no person has a genuine and a posed clip"):
        RankSVM().fit(x, y, np.arange(8))
    with pytest.raises(InputError, match="not been fitted"):
        RankSVM().scores(x)


@pytest.mark.parametrize("name", names.BASELINES)  # tests/contracts holds the others
def test_every_baseline_learns_from_a_table_and_gives_probabilities(name):
    made = names.BASELINES[name](0)
    x, y, who, what = people()
    x[3, 2] = np.nan  # a number that is missing
    model = made.fit_table(x, y, who, what)
    p = model.predict_table(x)
    assert p.shape == (60, 2) and np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    if name == "majority":
        assert np.ptp(p[:, 1]) == 0
    else:
        assert roc_auc_score(y, p[:, 1]) > 0.9
    again = names.BASELINES[name](0)
    np.testing.assert_array_equal(again.fit_table(x, y, who, what).predict_table(x), p)
    assert 0 <= model.margin <= 0.5


def test_majority_predicts_the_training_share():
    x, y = np.zeros((40, 1)), (np.arange(40) % 4 == 0).astype(int)
    p = names.BASELINES["majority"](0).fit_table(x, y, np.arange(40) // 4).predict_table(x[:1])[0, 1]
    assert abs(p - 0.25) < 0.02  # Platt's smoothed targets pull it a little inwards


@pytest.mark.parametrize(
    "name",
    ["nothing", "default:nonsense", "descriptors:nonsense", "boosting:nonsense", "", "rank_svm", "lstm-pb:nonsense"],
)
def test_unknown_methods_are_refused_with_what_there_is(name):
    with pytest.raises(UsageError, match="choose one of"):
        names.make(name)


def test_a_trained_model_is_evaluated_as_it_is():
    made = names.make("as-is:default-0.1")
    track = simulate.track(simulate.KINDS["posed"], 30.0)
    before = made.predict_proba([track])
    made.fit_table(np.zeros((4, 1)), np.array([0, 1, 0, 1]), np.arange(4))
    np.testing.assert_array_equal(made.predict_proba([track]), before)
    np.testing.assert_array_equal(made.predict_table(made.table([track])), before)


def test_sources_are_identified_by_their_content(tmp_path):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"one")
    name = f"stack:descriptors+two-stage:as-is:smile+cnn3d:my.toml@{weights}"
    found = names.sources(name)
    assert found == {"smile": names.checkpoints.load("smile")[1]["sha256"], str(weights): sha256(b"one").hexdigest()}
    weights.write_bytes(b"two")
    assert names.sources(name)[str(weights)] == sha256(b"two").hexdigest() != found[str(weights)]
    assert names.sources("stack:descriptors+lstm-pb") == {}


def test_lstm_pb_is_the_shipped_recipe_or_another_reading_or_a_recipe_of_one_s_own(tmp_path):
    shipped = names.make("lstm-pb", 7)
    assert (shipped.recipe, shipped.needs_emotions) == (PBRecipe.read("lstm-pb", seed=7), False)
    assert shipped.recipe.reading == "solved" and names.make("lstm-pb:solved", 7).recipe == shipped.recipe
    for reading in set(READINGS) - {"solved"}:
        small = replace(PBRecipe.read("lstm-pb-small", seed=7), recognition_steps=20)
        made = names.make(f"lstm-pb:{reading}", 7).recipe
        assert made.recognition_steps == (20 if reading == "published-code" else 8)
        assert replace(made, recognition_steps=20) == replace(small, reading=reading)
    paper = names.make("lstm-pb:lstm-pb-paper", 7)
    assert paper.recipe == PBRecipe.read("lstm-pb-paper", seed=7) and paper.needs_emotions
    (tmp_path / "mine.toml").write_text('reading = "rnnpb"\nfps = 10\nhidden_size = 8\n')
    mine = names.make(f"lstm-pb:{tmp_path / 'mine.toml'}").recipe
    assert (mine.reading, mine.fps, mine.hidden_size) == ("rnnpb", 10.0, 8)
    with pytest.raises(InputError, match="no recipe"):
        names.make(f"lstm-pb:{tmp_path / 'none.toml'}")


def test_the_default_is_descriptors_beside_the_look_of_the_face_or_an_lstm_pb():
    made, apart = names.make("default:peak", 7), names.make("descriptors:peak", 7)
    assert isinstance(made, Hybrid) and made.descriptors == apart and isinstance(apart, DescriptorModel)
    assert apart.family == "peak" and apart.recipe.seed == 7 and apart != names.make("descriptors", 7)
    assert made.other.recipe == PBRecipe.read("lstm-pb", seed=7)
    shipped = names.make("default", 7)
    assert shipped.whole.descriptors == names.make("descriptors:mesh-relative", 7)
    assert shipped.whole.other == names.make("descriptors:appearance", 7) and shipped.needs == "points"
    for name in ("default:dynamics", "descriptors"):
        with pytest.raises(InputError, match="not been fitted"):
            names.make(name).predict_proba([simulate.track(simulate.KINDS["posed"], 25.0)])


def test_other_methods_do_not_load_torch():
    code = "import sys; from duchenne.methods import names as methods; from duchenne.lstm_pb import generation\n"
    code += "from duchenne import cli, evaluation\n"
    code += "methods.make('descriptors'), methods.make('linear-svm'), methods.make('as-is:smile')\n"
    code += "sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- rows ---------------------------------------------------------------------------------------------------


def test_what_a_reader_reads_of_a_track():
    kin = simulate.KINDS["posed"]
    track = simulate.track(kin, 25.0)
    assert Reader("clip length").table([track])[0, 0] == pytest.approx(kin.duration, abs=0.05)
    assert Reader("nothing").table([track, track]).tolist() == [[0.0], [0.0]]
    np.testing.assert_array_equal(Reader("all").table([track]), Reader("dynamics").table([track]))
    np.testing.assert_array_equal(Reader("peak intensity").table([track]), Reader("peak").table([track]))


def test_what_a_reader_reads_of_a_table():
    rows = [Features(np.arange(75.0) + 1 + i, smile.COLUMNS, "t.csv") for i in range(3)]
    assert Reader("all").table(rows).shape == (3, 75)
    length = Reader("clip length").table(rows)
    doubled = sum(rows[0].values[smile.COLUMNS.index(f"{part}_duration_full")] for part in smile.PARTS)
    assert Reader("smile").table(rows).shape == (3, len(smile.EXPERT))
    assert length.shape == (3, 1) and doubled > 0 and np.isfinite(length).all()
    named = [Features(np.array([2.5, 7.0]), ("duration", "other"), "t.csv")]
    assert Reader("clip length").table(named).tolist() == [[2.5]]
    with pytest.raises(InputError, match=r"t\.csv holds no landmarks"):
        Reader("first_frame").table(rows)
    with pytest.raises(InputError, match="different columns"):
        Reader("all").table([*rows, *named])
    with pytest.raises(InputError, match="evaluate them separately"):
        Reader("all").table([*named, simulate.track(simulate.KINDS["posed"], 25.0)])


def test_every_method_and_baseline_is_listed_with_what_it_is(duchenne):
    assert set(names.ABOUT) == {*names.LEARNERS, *names.BASELINES}
    listed = duchenne("methods").out
    assert all(f"{name} " in listed for name in (*names.ABOUT, *FAMILIES, "mesh", "paper"))
