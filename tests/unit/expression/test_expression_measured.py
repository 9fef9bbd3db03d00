"""experiments/expression.py and benchmarks/expression.py: measures by hand, a tiny run of each, pages against JSON."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from duchenne import checkpoints, io
from duchenne.errors import InputError
from duchenne.expression import data as expression_data
from duchenne.expression.learner import train
from duchenne.expression.recipe import ExpressionRecipe

ROOT = Path(__file__).parents[3]
SCRIPT, BENCH = ROOT / "experiments" / "expression.py", ROOT / "benchmarks" / "expression.py"
TINY = ExpressionRecipe(widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1), epochs=2, batch_size=8, precision="float32", seed=1)


def loaded(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # which dataclasses ask for
    spec.loader.exec_module(module)
    return module


texts = loaded(SCRIPT.with_name("expression_texts.py"), "expression_texts")
measured, bench = loaded(SCRIPT, "measured_expression"), loaded(BENCH, "bench_expression")


# --- measures by hand ----------------------------------------------------------------------------------------------


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(7), 200), rng.integers(0, 7, 200)
    score, called = measured.evaluated(p, y), p.argmax(1)
    assert score["accuracy"] == (called == y).mean() and score["rows"] == 200
    assert score["uf1"] == pytest.approx(f1_score(y, called, average="macro"))
    assert score["uar"] == pytest.approx(balanced_accuracy_score(y, called))
    low, high = score["accuracy_interval"]
    # 1,000 draws of 200 images: about ± 1.96 sqrt(q (1 − q) / 200)
    half = 1.96 * np.sqrt(score["accuracy"] * (1 - score["accuracy"]) / 200)
    assert (high - low) / 2 == pytest.approx(half, rel=0.15) and low < score["accuracy"] < high


def test_a_temperature_by_hand_and_found_again():
    # the square roots of .8 and .2 are as 2 to 1
    assert measured.cooled(np.array([[0.8, 0.2]]), 2.0) == pytest.approx(np.array([[2 / 3, 1 / 3]]))
    rng = np.random.default_rng(0)
    true = rng.dirichlet(np.ones(7), 4000)
    y = np.array([rng.choice(7, p=row) for row in true])
    too_sure = measured.cooled(true, 0.5)
    assert measured.fitted(too_sure, y) == pytest.approx(2, rel=0.1)
    found = measured.calibration(too_sure, y)
    assert found["temperature_helps"] and found["with_temperature"]["ece"] < found["as_answered"]["ece"] / 2
    assert not measured.calibration(true, y)["temperature_helps"]


def test_trust_by_hand():
    p = np.array([[0.9, 0.1, 0], [0.6, 0.3, 0.1], [0.05, 0.05, 0.9], [0.95, 0.05, 0]])
    y = np.array([0, 1, 2, 1])
    found = measured.trust(p, y)
    assert found["log_loss"] == pytest.approx(log_loss(y, p, labels=[0, 1, 2]))
    # bins .6: one, wrong; .9: three of mean 2.75 / 3, two right: (.6 + |2.75 − 2|) / 4
    assert found["ece"] == pytest.approx((0.6 + 0.75) / 4)
    squares = [0.01 + 0.01, 0.36 + 0.49 + 0.01, 0.0025 * 2 + 0.01, 0.95**2 * 2]
    assert found["brier"] == pytest.approx(sum(squares) / 4)
    assert [row["images"] for row in found["bins"]] == [0] * 6 + [1, 0, 0, 3]


def test_a_photograph_is_known_again_when_lit_or_moved_a_little_and_no_other():
    rng, at = np.random.default_rng(0), np.arange(49) / 8
    big = np.stack(
        [np.sin(at[:, None] * a + b) * np.cos(at * c) * 60 + 128 for a, b, c in rng.uniform(0.3, 1.5, (5, 3))]
    )
    photos = big[:, :48, :48].astype(np.uint8)
    others = np.stack([photos[3] * 0.5 + 60, big[1, 1:, 1:], np.full((48, 48), 90), 255 - photos[0]]).astype(np.uint8)
    assert measured.near(photos, others).tolist() == [[3, 0], [1, 1]]
    assert measured.near(photos, photos).tolist() == [[i, i] for i in range(5)]


def test_doubles_by_hand():
    # photographs {0, 1, 4} with labels 0 0 3 and {2, 3} with labels 5 5; 5 is alone
    pairs = np.array([[i, i] for i in range(6)] + [[0, 1], [1, 0], [1, 4], [4, 1], [2, 3], [3, 2]])
    found = measured.doubles(pairs, np.array([0, 0, 5, 5, 3, 1]))
    assert found == {
        "pairs": 3, "pairs_of_two_labels": 1, "photographs": 2, "photographs_of_several_labels": 1, "images": 5,
        "surely_wrong": 1, "share_surely_wrong": 1 / 5,
    }  # fmt: skip
    none = measured.doubles(pairs[:6], np.array([0, 0, 5, 5, 3, 1]))
    assert none["images"] == 0 and none["share_surely_wrong"] is None


def test_leaks_by_hand():
    p, y = np.eye(8)[[0, 1, 2, 3, 4]], np.array([0, 1, 5, 3, 6])
    found = measured.leaked(np.array([[7, 0], [8, 0], [9, 2]]), p, y, np.array([0] * 8 + [4, 5]))
    assert (found["pairs"], found["pairs_of_two_labels"], found["test_images"]) == (3, 1, 2)
    assert (found["accuracy_of_these"], found["accuracy_without"]) == (0.5, pytest.approx(2 / 3))


def test_the_arithmetic_of_the_papers_network_by_hand():
    first = 48**2 * 25 * 64
    rest = 24**2 * 25 * 64 * 128 + 12**2 * 25 * 128 * 256 + 36 * 256 * 512 + 512 * 7
    assert bench.flops("paper", bench.Sizes(), learn=False) == 2 * (first + rest)
    # backward: to the weights as much again, and to what a layer reads, but for the picture
    assert bench.flops("paper", bench.Sizes(), learn=True) == 2 * (2 * first + 3 * rest)


# --- tiny runs -----------------------------------------------------------------------------------------------------


VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny FER2013 of noise and votes, one of whose test images is also in training, and a training."""
    folder, rng = tmp_path_factory.mktemp("measured"), np.random.default_rng(0)
    root = folder / "data" / "fer2013" / "original"
    root.mkdir(parents=True)
    arrays, same = {"vote_names": np.array(VOTES)}, rng.integers(0, 256, (48, 48), np.uint8)
    for fold, count in (("train", 32), ("public_test", 24)):
        sheet = rng.integers(0, 256, (20, 48, 50, 48), np.uint8)
        sheet[0, :, 3] = same
        Image.fromarray(sheet.reshape(960, 2400)).save(root / f"{fold}-00.webp", lossless=True)
        votes = 7 * np.eye(10, dtype=np.uint8)[np.arange(count) % 8]
        votes[:, 0] += 3
        votes[1] = [3, 3, 4, 0, 0, 0, 0, 0, 0, 0]  # no half
        arrays |= {f"{fold}_votes": votes, f"{fold}_labels": np.arange(count) % 7}
    np.savez(root / "labels.npz", **arrays)
    faces = expression_data.emotions(root)
    rows, test = np.flatnonzero(faces.roles == "train"), np.flatnonzero(faces.roles == "test")
    held = (faces.images[test], faces.shares[test])
    second = (faces.second[rows], faces.second_classes)
    recipe = replace(TINY, second_weight=0.5)
    model, curve = train(
        *(recipe, faces.images[rows], faces.shares[rows], faces.classes, held),
        second=second, folder=folder / "training", device="cpu",
    )  # fmt: skip
    checkpoints.save(model, folder / "model", name="tiny")
    io.write_json(folder / "model" / "curve.json", {"expression": curve})  # as `duchenne train expression` does
    return folder


@pytest.fixture(scope="module")
def found(place):
    words = ["--model", place / "model", "--training", place / "training", "--pictures", place / "seen"]
    words += ["--paper", place / "model", "--before", place / "model"]  # the same network plays all
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUCHENNE_DATA", str(place))
        patch.setattr(sys, "argv", [str(SCRIPT), *map(str, words), "-o", str(place / "found.json")])
        measured.main()
    return json.loads((place / "found.json").read_text(encoding="utf-8"))


def test_tiny_run_matches_the_network(place, found):
    model = checkpoints.load(place / "model")[0]
    faces = expression_data.emotions(place / "data" / "fer2013" / "original")
    test = faces.of(np.flatnonzero(faces.roles == "test"))
    clear = test.shares.max(1) >= 0.5
    p, mirrored = model.predict(test.images), model.predict(np.ascontiguousarray(test.images[:, :, ::-1]))
    plain, flips = found["public_test"]["plain"], found["public_test"]["flips"]
    assert found["agreed_images"] == clear.sum() == len(test) - 1
    right = p.argmax(1) == test.labels
    assert plain["votes"]["accuracy"] == pytest.approx(right[clear].mean())
    assert flips["votes"]["accuracy"] == pytest.approx(((p + mirrored).argmax(1) == test.labels)[clear].mean())
    seven = clear & (test.labels < 7)
    assert plain["votes_seven"]["accuracy"] == pytest.approx((p[:, :7].argmax(1) == test.labels)[seven].mean())
    own = model.second().predict(test.images).argmax(1) == test.second
    assert plain["own"]["accuracy"] == pytest.approx(own.mean())
    assert plain["cross_entropy"] == pytest.approx(-(test.shares * np.log(p)).sum(1).mean())
    assert found["own_labels_are_the_majoritys"] == pytest.approx((test.second == test.labels)[clear].mean())
    assert found["leaks"]["exact"]["test_images"] == 1
    assert found["model"]["weights"] == sum(each.numel() for each in model.network.parameters())
    assert found["half_precision"]["is_the_models"] and found["half_precision"]["largest_change_of_p"] < 0.01
    rows = found["learning"]["rows"]
    assert len(rows) == 2 and max(row["accuracy"] for row in rows) == pytest.approx(right.mean())
    assert found["paper"] == {"rows": rows, "public_test": flips} and found["before"] == flips
    assert {path.name for path in (place / "seen").iterdir()} == {"mistakes.svg", "mistakes.png"}


def test_texts_are_filled_from_the_json(place, found, monkeypatch):
    root = place / "root"
    (root / "docs" / "science").mkdir(parents=True)
    beside = root / "docs" / "science" / "measured.md"
    page = (ROOT / "docs" / "expression.md").read_text(encoding="utf-8")
    (root / "docs" / "expression.md").write_text(
        re.sub(r"(<!-- (\S+) -->\n).*?(<!-- /)", r"\1\3", page, flags=re.DOTALL)
    )
    beside.write_text("# Here\n<!-- expression -->\nold\n<!-- /expression -->\nend\n")
    monkeypatch.setattr(texts, "BENCH", place / "none.json")
    texts.write(found, root)
    filled = (root / "docs" / "expression.md").read_text(encoding="utf-8")
    for table in (texts.headline(found), texts.class_table(found), texts.label_table(found), texts.size_table(found)):
        assert table in filled
    assert beside.read_text() == f"# Here\n<!-- expression -->\n{texts.headline(found)}<!-- /expression -->\nend\n"
    assert {path.stem for path in (root / "docs" / "expression").iterdir()} == {"certainty", "confusion", "learning"}
    texts.card(found, place / "model")
    card = checkpoints.card(place / "model")
    assert card["accuracy"] == found["public_test"]["flips"]["votes"]["accuracy"]
    told = (place / "model" / "CARD.md").read_text(encoding="utf-8")
    assert texts.headline(found) in told and "policing" in told


def test_images_of_fer2013_stay_out_of_the_repository(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--pictures", str(ROOT / "docs")])
    with pytest.raises(SystemExit, match="is in the repository"):
        measured.main()


def test_other_folders_are_refused_in_one_sentence(place, tmp_path):
    with pytest.raises(InputError, match="There are no votes in"):
        measured.read(tmp_path)
    with pytest.raises(InputError, match="no learning curve"):
        measured.learning_curve(tmp_path)
    with pytest.raises(InputError, match="no weights of a training of this network"):
        measured.half_precision(checkpoints.load(place / "model")[0], tmp_path, 2, None, None)


@pytest.mark.slow
def test_a_tiny_benchmark_measures_every_way(place, monkeypatch):
    done = subprocess.run(
        [sys.executable, BENCH, "--quick", "--threads", "1", "-o", place / "speed.json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    part = json.loads((place / "speed.json").read_text(encoding="utf-8"))["places"]["1 thread"]
    assert part["machine"]["threads"] == 1 and part["machine"]["OMP_PROC_BIND"] == "true"
    for kind in bench.KINDS:
        assert {batch: set(ways) for batch, ways in part["use"][kind].items()} == {
            batch: {*bench.WAYS, "predict"} for batch in ("1", "4")
        }
        assert set(part["learning"][kind]) == {*bench.WAYS, "learner"}
        assert part["alike"][kind]["float32 channels_last"] < 1e-4
        for ways, work in (*((w, "use") for w in part["use"][kind].values()), (part["learning"][kind], "learning")):
            for way in ways.values():
                speed = way["faces_per_second"]
                assert speed / ways["plain"]["faces_per_second"] == pytest.approx(way["times_plain"])
                limit = part["gemm"][way["precision"]] / part["gflop_per_face"][kind][work]
                assert way["of_limit"] == pytest.approx(speed / limit)
    monkeypatch.setattr(texts, "BENCH", place / "speed.json")
    assert len(texts.speed_table().splitlines()) == 2 + 2 * 3


def test_how_busy_others_are_lies_between_none_and_all_cores():
    busy = bench.machine.others(0.05)
    assert busy is None or 0 <= busy <= (os.cpu_count() or 1)


# --- pages ---------------------------------------------------------------------------------------------------------


def test_page_matches_json():
    known = json.loads(SCRIPT.with_suffix(".json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "expression.md").read_text(encoding="utf-8")
    parts = (texts.headline, texts.class_table, texts.trust_table, texts.label_table, texts.size_table)
    for table in (*(part(known) for part in parts), texts.speed_table()):
        assert table in page
    assert known["model"]["sha256"] == checkpoints.load(known["model"]["id"])[1]["sha256"], "measure it anew"
