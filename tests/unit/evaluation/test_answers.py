"""Anybody's answers: read whatever way they are written, and scored as by hand and by scikit-learn."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from duchenne import metrics
from duchenne.errors import InputError, UsageError
from duchenne.evaluation import answers

N = 200  # draws: these tests need intervals, not good ones
Table = Mapping[str, Sequence[Any]]
#: By hand: called G G P G P, of which a, d and e are right; genuine are found 2 of 3, posed 1 of 2. AUC over the pairs
#: of a genuine and a posed clip: ab, ae, ce and de are won, cb is lost, db is a tie: 4.5 of 6.
FIVE = {
    "video": list("abcde"),
    "label": ["genuine", "posed", "genuine", "genuine", "posed"],
    "score": [0.8, 0.7, 0.4, 0.7, 0.1],
}


def written(folder: Path, content: Table | str | bytes, name: str = "p.csv") -> Path:
    """Columns (or text, or bytes) as a CSV in `folder`; its path."""
    if isinstance(content, Mapping):
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerows([list(content), *zip(*content.values(), strict=True)])
        content = text.getvalue()
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def sheet(tmp_path: Path) -> Callable[..., Path]:
    return partial(written, tmp_path)


def scored(path: Path, **options: Any) -> dict[str, Any]:
    (only,) = answers.read(path)
    return answers.score(only, n=N, **options)


def people(seed: int = 0, persons: int = 8, clips: int = 6, skill: float = 0.5) -> dict[str, list[Any]]:
    """A file with every column: scores of `skill`, on a grid so that ties occur."""
    rng = np.random.default_rng(seed)
    rows = persons * clips
    y = np.tile([1, 0], rows // 2)
    score = np.clip(0.5 + skill * (y - 0.5) + rng.normal(0, 0.25, rows), 0, 1).round(2)
    return {
        "video": [f"{i}.mp4" for i in range(rows)],
        "label": np.where(y == 1, "genuine", "posed").tolist(),
        "score": score.tolist(),
        "subject": np.repeat([f"s{i}" for i in range(persons)], clips).tolist(),
        "emotion": np.resize(["fear", "fear", "anger", "anger"], rows).tolist(),
    }


def truth(table: Table) -> Any:
    return np.array([label == "genuine" for label in table["label"]], int)


# --- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("genuine", "posed"),
    [
        ("true", "fake"),
        ("genuine", "posed"),
        ("1", "0"),
        ("1.0", "0.0"),
        ("Real", "ACTED"),
        ("spontaneous", "Deliberate"),
        ("TRUE", "False"),
    ],
)
def test_label_words_may_vary(sheet, genuine, posed):
    path = sheet(f"video,label,predicted\na,{genuine},{posed}\nb,{posed},{posed}\nc,{genuine},{genuine}\nd,{posed},\n")
    (found,) = answers.read(path)
    assert found.label.tolist() == [1, 0, 1, 0] and found.predicted.tolist() == [0, 0, 1, -1]
    assert scored(path)["accuracy"] == pytest.approx(2 / 3) and scored(path)["unanswered"] == 1


PLAIN = "video,label,score,subject,emotion\na b,genuine,0.9,s1,fear\nc,posed,0.2,s2,fear\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        "\ufeff" + PLAIN,
        PLAIN.replace("video,label,score", "Video, LABEL ,Score"),
        PLAIN.replace("a b", '"a b"').replace(",", " , ").replace(' , "', ',"').replace('"a b" ', '"a b"'),
        PLAIN + "\n,,,,\n\n",
        "emotion,score,note,label,subject,video\nfear,0.9,x,genuine,s1,a b\nfear,0.2,,posed,s2,c\n",
    ],
)
def test_csv_dialects_are_read(sheet, text):
    (found,) = answers.read(sheet(text))
    assert found.video.tolist() == ["a b", "c"] and found.label.tolist() == [1, 0]
    assert found.score.tolist() == [0.9, 0.2] and found.predicted is None and found.rank is None
    assert found.subject.tolist() == ["s1", "s2"] and found.emotion.tolist() == ["fear", "fear"]


def test_a_cell_may_hold_the_delimiter_and_a_line_end(sheet):
    (found,) = answers.read(sheet('video,label,score\n"a,\nb",genuine,0.9\nc,posed,nan\n'))
    assert found.video.tolist() == ["a,\nb", "c"] and np.isnan(found.score[1])


def test_empty_columns_are_ignored(sheet):
    table = FIVE | {
        "predicted": [""] * 5,
        "subject": ["", " ", "<NA>", "", ""],
        "emotion": [""] * 5,
        "pair_score": [""] * 5,
    }
    found, bare = answers.read(sheet(table))[0], answers.read(sheet(FIVE))[0]
    assert found.predicted is found.subject is found.emotion is found.rank is None
    assert answers.score(found) == answers.score(bare)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "columns video, label and score (or predicted), found nothing"),
        ("video,label,score\n", "has no answers; expected"),
        ("video,score\na,0.5\n", "must have the columns video, label and score (or predicted), found video, score;"),
        ('"a\nb",label\n', "found a\\nb, label;"),
        ("video,label,score,Label\na,1,1,1\n", "has the column label more than once"),
        ("video,label,score\na,1,0.5\nb,fakey,0.5\n", "line 3, has the label 'fakey'; use one of genuine, true"),
        ("video,label,score\na,happy,0.5\n", "line 2, has the label 'happy': expected genuine or posed"),
        ('video,label,predicted\na,1,1\nb,0,"ma\nybe"\n', "line 4, has the predicted 'ma\\nybe'; use one of"),
        (f"video,label,predicted\na,1,{'x' * 500}\n", f"line 2, has the predicted '{'x' * 60}…'; use one of"),
        ("video,label,score\na,1,0.5\nb,,0.5\n", "line 3, has no label"),
        ("video,label,score\na,1,0.5\n,1,0.5\n", "line 3, has no video"),
        ("video,label,score\na,1,0.5\n\nb,0,0.5\na,0,0.5\n", "line 5, answers a a second time (line 2)"),
        ("video,label,score\na,1,high\n", "line 2, has the score 'high'; expected a number"),
        ("video,label,score\na,1,0.5\nb,1,inf\n", "line 3, has the score 'inf'; expected a number"),
        ("video,label,score,pair_score\na,1,1,1\nb,1,1,?\n", "line 3, has the pair_score '?'; expected a number"),
        ("video,label,score,repeat\na,1,1,1.5\n", "line 2, has the repeat '1.5'; expected a number from 0"),
        ("video,label,score\na,1\n", "line 2, has 2 cells for 3 columns"),
        ("video,label,score\na,1,0.5\nb,0,0.5,0.7\n", "line 3, has 4 cells for 3 columns"),
        ("video,label,score,subject\na,1,1,x\nb,1,1,\n", "line 3, has no subject"),
        ("video,label,score,predicted\na,1,,\nb,0,,\n", "has no answers: its columns"),
        ("video,label,score\na,1,0.5\nb,0,0.\x005\n", "line 3, has a NUL byte"),
        (f"video,label,score\na,1,0.5\n{'b' * 131073},0,0.5\n", "line 3, is not CSV (field larger than field limit"),
        ("video,label,score\né,1,0.5\n".encode("latin-1"), "is not UTF-8 text; save"),
    ],
)
def test_invalid_input_raises_one_sentence_with_its_line(sheet, text, words):
    path = sheet(text)
    with pytest.raises(InputError) as caught:
        answers.read(path)
    said = str(caught.value)
    assert said.startswith(str(path)) and words in said and said.endswith(".") and said.isprintable()
    assert len(said) < 400


def test_other_files_raise(tmp_path):
    with pytest.raises(InputError, match=r"There is no file .*gone\.csv; check the path"):
        answers.load(tmp_path / "gone.csv")
    with pytest.raises(InputError, match=r"There is no file .*gone\.json; give a results\.json"):
        answers.load(tmp_path / "gone.json")
    with pytest.raises(InputError, match=r"it is not a file"):
        answers.load(tmp_path)


@settings(max_examples=60)
@given(st.binary(max_size=60), st.sampled_from([b"", b"video,label,score\n", b"video;label;predicted\na;1;1\n"]))
def test_no_bytes_end_in_a_traceback(tmp_path_factory, noise, start):
    path = tmp_path_factory.getbasetemp() / "noise.csv"
    path.write_bytes(start + noise)
    try:
        assert answers.read(path)
    except InputError as error:
        assert str(error).isprintable()


def test_a_long_name_does_not_lengthen_every_row(sheet):
    rows = "".join(f"{i},{i % 2},0.5\n" for i in range(200))
    (found,) = answers.read(sheet(f"video,label,score\n{'a' * 100_000},1,0.5\n{rows}"))
    assert found.video.nbytes < 100_000 and len(found.video[0]) == 100_000


# --- scores -------------------------------------------------------------------------------------------------


def test_scores_alone_are_thresholded_at_one_half(sheet):
    found = scored(sheet(FIVE))
    assert (found["rows"], found["unanswered"], found["genuine"]) == (5, 0, 0.6)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found["auc"] == pytest.approx(4.5 / 6)
    assert found["brier"] == pytest.approx((0.04 + 0.49 + 0.36 + 0.09 + 0.01) / 5)
    # bins: 0.1 → gap 0.1, 0.4 → 0.6, the two 0.7 → |1.4 − 1| = 0.4, 0.8 → 0.2
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.4 + 0.2) / 5)
    assert not {"persons", "forced_pairs", "pairs", "permutation_p", "per_emotion"} & set(found)
    assert all(found[key] is None for key in found if key.endswith("_interval"))


def test_predictions_alone_have_no_auc_and_no_calibration(sheet):
    table = people()
    table["predicted"] = ["genuine" if p >= 0.5 else "posed" for p in table.pop("score")]
    found = scored(sheet(table))
    called = [p == "genuine" for p in table["predicted"]]
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth(table), called))
    assert found["f1"] == pytest.approx(sk.f1_score(truth(table), called))
    for name in ("auc", "brier", "ece"):
        assert found[name] is None and found[f"{name}_interval"] is None
    assert found["permutation_p"] is None and found["risk_coverage"] is None
    assert all(each["auc"] is None and each["auc_interval"] is None for each in found["per_emotion"].values())
    # forced pairs of hard calls: a tie counts half
    half = metrics.forced_pair_accuracy(np.array(called, float), truth(table), table["subject"], table["emotion"])
    assert (found["forced_pairs"], found["pairs"]) == half


def test_both_the_prediction_decides_accuracy_and_the_score_auc(sheet):
    table = people(3)
    # every call is turned round, as after a threshold of its own: accuracy must not come from the score
    turned = FIVE | {"predicted": ["posed", "posed", "genuine", "posed", "genuine"]}
    found, alone = scored(sheet(turned)), scored(sheet(FIVE))
    assert found["accuracy"] == pytest.approx(2 / 5) and alone["accuracy"] == pytest.approx(3 / 5)
    assert all(found[key] == alone[key] for key in ("auc", "brier", "ece", "risk_coverage"))
    called = np.random.default_rng(0).integers(0, 2, len(table["video"]))
    found = scored(sheet(table | {"predicted": called.tolist()}))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth(table), called))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth(table), called))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(truth(table), table["score"]))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(truth(table), table["score"]))


def test_scores_that_are_not_probabilities_need_a_class_or_threshold(sheet):
    table = people(1)
    margin = np.round(8 * np.array(table["score"]) - 5, 3)
    wild = table | {"score": margin.tolist()}
    with pytest.raises(
        UsageError, match=r"Scores run from -.* not probabilities.*column predicted, or give --threshold\.$"
    ):
        scored(sheet(wild))
    by_threshold = scored(sheet(wild), threshold=-1.0)  # 8 p − 5 >= −1 where p >= 0.5
    called = np.array(table["score"]) >= 0.5
    by_prediction = scored(sheet(wild | {"predicted": called.astype(int).tolist()}))
    assert by_threshold == by_prediction
    assert by_threshold["auc"] == pytest.approx(sk.roc_auc_score(truth(table), margin))
    assert by_threshold["accuracy"] == pytest.approx(sk.accuracy_score(truth(table), called))
    assert all(by_threshold[key] is None for key in ("brier", "brier_interval", "ece", "ece_interval", "risk_coverage"))
    # what only needs the order is what the probabilities gave
    proper = scored(sheet(table))
    for key in (
        "accuracy",
        "auc",
        "auc_interval",
        "permutation_p",
        "forced_pairs",
        "forced_pairs_interval",
        "per_emotion",
    ):
        assert by_threshold[key] == proper[key]


def test_a_threshold_comes_first_and_needs_scores(sheet):
    assert scored(sheet(FIVE), threshold=0.75)["accuracy"] == pytest.approx(3 / 5)  # G P P P P
    assert scored(sheet(FIVE), threshold=0.0)["accuracy"] == pytest.approx(3 / 5)  # all genuine
    assert scored(sheet(FIVE), threshold=0.2)["accuracy"] == pytest.approx(4 / 5)  # G G G G P
    path = sheet(FIVE | {"predicted": ["posed"] * 5})
    assert scored(path)["accuracy"] == 0.4 and scored(path, threshold=0.2)["accuracy"] == 0.8
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(UsageError, match="threshold must be a finite number"):
            scored(path, threshold=wrong)
    hard = {"video": ["a", "b"], "label": [1, 0], "predicted": [1, 0]}
    classes = {"video": ["a", "b"], "label": ["joy", "fear"], "predicted": ["joy", "fear"]}
    for table in (hard, classes):
        with pytest.raises(UsageError, match="needs a column score"):
            scored(sheet(table), threshold=0.5)


def test_clips_without_answer_are_counted_and_left_out(sheet):
    table = FIVE | {"score": [0.8, "", 0.4, "NaN", 0.1]}
    found, kept = scored(sheet(table)), {key: [FIVE[key][i] for i in (0, 2, 4)] for key in FIVE}
    assert (found["rows"], found["unanswered"]) == (5, 2)
    alone = scored(sheet(kept))
    assert found | {"rows": 3, "unanswered": 0, "risk_coverage": None} == alone | {"risk_coverage": None}
    assert found["risk_coverage"][-1] == {"coverage": 0.6, "accuracy": pytest.approx(2 / 3)}  # a and e of a, c, e
    # an abstention of one column only
    found = scored(sheet(table | {"predicted": ["genuine", "posed", "", "posed", "posed"]}))
    assert found["unanswered"] == 1 and found["accuracy"] == pytest.approx(3 / 4) and found["auc"] == alone["auc"]


def test_persons_give_intervals_and_forced_pairs(sheet):
    table = people(2, skill=0.3)
    found = scored(sheet(table), seed=4)
    wanted = metrics.score(np.array(table["score"]), truth(table), table["subject"], table["emotion"], n=N, seed=4)
    assert found == wanted and found["persons"] == 8
    low, high = found["accuracy_interval"]
    assert 0 < low < found["accuracy"] < high <= 1
    # each person has fear G P, anger G P, fear G P: 2 · 2 + 1 = 5 pairs
    assert found["pairs"] == 8 * 5
    right = 0.0
    for i, p in enumerate(table["score"]):
        for j, q in enumerate(table["score"]):
            same = all(table[key][i] == table[key][j] for key in ("subject", "emotion"))
            if same and table["label"][i] == "genuine" and table["label"][j] == "posed":
                right += (p > q) + (p == q) / 2
    assert found["forced_pairs"] == pytest.approx(right / 40)
    assert set(found["per_emotion"]) == {"anger", "fear"}
    for name, each in found["per_emotion"].items():
        at = np.array(table["emotion"]) == name
        assert each["auc"] == pytest.approx(sk.roc_auc_score(truth(table)[at], np.array(table["score"])[at]))
        assert each["rows"] == at.sum() and each["auc_interval"][0] <= each["auc"] <= each["auc_interval"][1]


def test_one_person_gives_no_interval_and_emotions_may_be_missing(sheet):
    table = FIVE | {"subject": ["s"] * 5, "emotion": ["fear", "fear", "", "", "<NA>"]}
    found = scored(sheet(table))
    assert np.isnan(found["accuracy_interval"]).all() and found["persons"] == 1
    assert (found["forced_pairs"], found["pairs"]) == (1.0, 1) and list(found["per_emotion"]) == ["fear"]


def test_a_pair_score_decides_pairs_and_nothing_else(sheet):
    table = people(5, skill=0.2)
    tells = (100 * truth(table) - 7).tolist()
    found, plain = scored(sheet(table | {"pair_score": tells})), scored(sheet(table))
    assert found["forced_pairs"] == 1.0 > plain["forced_pairs"] and found["forced_pairs_interval"] == [1.0, 1.0]
    assert all(each["forced_pairs"] == 1.0 for each in found["per_emotion"].values())
    assert all(found[key] == plain[key] for key in ("accuracy", "auc", "brier", "pairs", "permutation_p"))
    # it may leave clips out; as many pairs as it ranks are counted
    tells[0] = ""
    found = scored(sheet(table | {"pair_score": tells, "predicted": table["label"]}))
    assert (found["forced_pairs"], found["pairs"]) == (1.0, plain["pairs"] - 2)  # fear: one genuine of s0, two posed
    assert found["per_emotion"]["fear"]["pairs"] == plain["per_emotion"]["fear"]["pairs"] - 2
    assert found["accuracy"] == 1.0


def test_classes_are_scored_by_name(sheet):
    said = ["joy", "joy", "fear", "anger", "joy", "", "fear"]
    true = ["joy", "joy", "joy", "anger", "anger", "fear", "fear"]
    table = {"video": range(7), "label": true, "predicted": said, "subject": [*"aabbccc"], "score": [0.5] * 7}
    found = scored(sheet(table))
    answered = [i for i in range(7) if said[i]]
    y, p = ([side[i] for i in answered] for side in (true, said))
    assert (found["rows"], found["unanswered"]) == (7, 1) and found["classes"] == ["anger", "fear", "joy"]
    assert found["accuracy"] == pytest.approx(4 / 6) == sk.accuracy_score(y, p)
    assert found["uar"] == pytest.approx(sk.recall_score(y, p, average="macro"))
    assert found["uf1"] == pytest.approx(sk.f1_score(y, p, average="macro"))
    assert found["confusion"] == sk.confusion_matrix(y, p, labels=found["classes"]).tolist()
    assert found["per_class"]["joy"] == {"rows": 3, "recall": 2 / 3, "precision": 2 / 3, "f1": pytest.approx(2 / 3)}
    assert found["uf1_interval"][0] <= found["uf1"] <= found["uf1_interval"][1] and "auc" not in found
    del table["subject"]
    assert scored(sheet(table))["accuracy_interval"] is None


def test_methods_and_repeats_are_separated(sheet):
    rows = ["a,genuine", "b,posed", "c,genuine"]
    text = "video,label,method,repeat,score,predicted,subject\n" + "".join(
        f"{row},{method},{repeat},{score},,{row[0]}\n"
        for method, repeat, score in (("svm", "", 0.9), ("length", 0, 0.1), ("svm", 1, ""), ("mute", 0, ""))
        for row in rows
    )
    found = answers.read(sheet(text))
    assert [(each.method, each.repeat) for each in found] == [("svm", 0), ("svm", 1), ("length", 0), ("mute", 0)]
    assert all(each.video.tolist() == ["a", "b", "c"] for each in found)
    # a repeat of scores that are all missing is still one of scores; a method that says nothing is no fault
    results = [answers.score(each, n=20) for each in found]
    assert [each["accuracy"] for each in results[::2]] == pytest.approx([2 / 3, 1 / 3])
    assert np.isnan([results[1]["accuracy"], results[1]["auc"], results[3]["accuracy"]]).all()
    assert results[1]["unanswered"] == results[3]["unanswered"] == 3 and set(results[0]) == set(results[1])
    assert len(answers.choose(found, None, "f")) == 2 == len(answers.choose(found, "svm", "f"))
    assert answers.choose(found, "length", "f") == [found[2]]
    with pytest.raises(UsageError, match=r"^f has no method 'x'; choose one of: svm, length, mute\.$"):
        answers.choose(found, "x", "f")
    with pytest.raises(UsageError, match=r"^f has no method 'x'; its rows name no methods\.$"):
        answers.choose(answers.read(sheet(FIVE)), "x", "f")
