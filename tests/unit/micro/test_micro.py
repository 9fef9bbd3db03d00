"""Micro-expressions from pictures to answers: small copies of CASME II and SAMM, made of rendered faces; videos of 200
and folders of images of 100 pictures per second with a brief smile whose times are known."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from duchenne import checkpoints, micro
from duchenne.datasets import manifest, simulate
from duchenne.datasets.entry import Entry
from duchenne.datasets.people import someone
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.expression.model import ExpressionModel
from duchenne.expression.network import ExpressionCNN
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.metrics.spotting import iou
from duchenne.micro import tuning
from duchenne.micro.recipe import MicroRecipe
from duchenne.types import Clip
from makers import make_video

pytestmark = pytest.mark.usefixtures("read_once")
PEOPLE = 3
#: A smile that rises in 0.1 s, for corpora at 200 per second.
RISE = simulate.SmileKinematics(
    onset=0.09, apex=0.0, offset=0.1, amplitude=0.15, neutral_before=0.0, neutral_after=0.0, peak=2.0, offset_peak=2.0,
    fluctuation=0.0,
)  # fmt: skip
#: One of 0.34 s that peaks at 0.6 s, in 1.19 s.
BRIEF = simulate.SmileKinematics(
    onset=0.14, apex=0.02, offset=0.18, amplitude=0.1, neutral_before=0.45, neutral_after=0.4, peak=2.5,
    offset_peak=2.5, fluctuation=0.0,
)  # fmt: skip
RECIPE = MicroRecipe.read("ours", hidden_size=12, frames=8, epochs=25, batch_size=4)


def write_images(folder: Path, pictures: list[np.ndarray], name: str, first: int) -> None:
    folder.mkdir(parents=True)
    for i, picture in enumerate(pictures):
        assert cv2.imwrite(str(folder / name.format(first + i)), picture[..., ::-1])


@pytest.fixture(scope="module")
def faces() -> list[list[list[np.ndarray]]]:
    """Of each person two clips of 14 pictures, from a neutral face to a smile."""
    out = []
    for n in range(PEOPLE):
        who = someone(np.random.default_rng(n))
        made = [simulate.frames(RISE, rate=200, size=(320, 240), seed=10 * n + i, person=who) for i in range(2)]
        out.append([[picture for _, picture in zip(range(18), clip, strict=False)][4:] for clip in made])
    return out


@pytest.fixture(scope="module")
def casme2(tmp_path_factory: pytest.TempPathFactory, faces: list[list[list[np.ndarray]]]) -> Path:
    """Coded from the fourth image on: smiles that rise are "happiness", the same backwards "disgust"; one "others"."""
    root = tmp_path_factory.mktemp("casme2")
    rows = ["Subject,Filename,,OnsetFrame,ApexFrame,OffsetFrame,,Action Units,Estimated Emotion"]
    for n, clips in enumerate(faces, 1):
        for i, pictures in enumerate(clips):
            for word, ordered in (("happiness", pictures), ("disgust", pictures[::-1])):
                name = f"EP{n:02}_{i}{word[0]}"
                write_images(root / "CASME2-RAW" / f"sub{n:02}" / name, ordered, "img{}.jpg", 30)
                rows.append(f"{n},{name},,32,40,43,,12,{word}")
    rows.append("1,EP01_0h,,30,/,43,,4,others")
    (root / "CASME2-coding-20140508.csv").write_text("\n".join(rows), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def samm(tmp_path_factory: pytest.TempPathFactory, casme2: Path) -> Path:
    """The same pictures, numbered and coded as SAMM's are."""
    root = tmp_path_factory.mktemp("samm")
    header = "Subject,Filename,Inducement Code,Onset Frame,Apex Frame,Offset Frame,Duration,Micro,Action Units"
    rows = [f"{header},Estimated Emotion,Objective Classes,Notes"]
    for n, person in enumerate(sorted((casme2 / "CASME2-RAW").iterdir()), 6):
        for i, clip in enumerate(sorted(person.iterdir()), 1):
            target = root / "SAMM" / f"{n:03}" / f"{n:03}_{i}_1"
            target.mkdir(parents=True)
            for image in clip.iterdir():
                shutil.copy(image, target / f"{n:03}_{int(image.stem.removeprefix('img')) + 5500:05}.jpg")
            word = "Surprise" if clip.name.endswith("h") else "Anger"
            rows.append(f"{n:03},{target.name},1,5532,5540,5543,12,Micro - 1/2,AU12,{word},I,")
    (root / "SAMM_Micro_FACS_Codes_v2.csv").write_text("\n".join(rows), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small expression network with the weights that it was born with."""
    torch.manual_seed(0)
    recipe = ExpressionRecipe(widths=(8, 8, 16, 32), blocks=(1, 1, 1, 1), per_image_standardization=True)
    network = ExpressionCNN(recipe.config(["happiness", "neutral"], [127.5], [60.0]))
    folder = tmp_path_factory.mktemp("seeing") / "tiny"
    return checkpoints.save(ExpressionModel(network, recipe), folder, name="tiny")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, casme2: Path, seeing: Path) -> tuple[Path, dict, list[str]]:
    """(model folder, card, what was said) of the copy of CASME II."""
    out, said = tmp_path_factory.mktemp("trained") / "mine", []
    card = micro.train(casme2, out, RECIPE, features=seeing, log=said.append)
    return out, card, said


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 200 pictures per second with the brief smile."""
    pictures = simulate.frames(BRIEF, rate=200, size=(320, 240), seed=3, person=someone(np.random.default_rng(7)))
    return make_video(tmp_path_factory.mktemp("brief") / "brief.mp4", pictures, rate=200)


# --- corpora -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_casme2_and_samm_are_read_at_their_rate(casme2: Path, samm: Path) -> None:
    rows, unnamed = micro.examples(casme2)
    assert (len(rows), unnamed) == (4 * PEOPLE, 1)
    # coded are frames 32 to 43 of images from 30 on: 2/200 s to (43 + 1 - 30)/200 s
    assert {(row.rate, row.start, row.end) for row in rows} == {(200.0, 0.01, 0.07)}
    assert {row.subject for row in rows} == {"sub01", "sub02", "sub03"}
    other, none = micro.examples(samm, "three")
    assert (len(other), none, {row.label for row in other}) == (4 * PEOPLE, 0, {"surprise", "negative"})
    assert {(row.rate, row.start, row.end) for row in other} == {(200.0, 0.01, 0.07)}
    words = [row.label for row in micro.examples(casme2, "labelled")[0]]
    assert (words.count("happiness"), words.count("disgust"), words.count("others")) == (6, 6, 1)


def test_a_manifest_carries_the_rate(casme2: Path, tmp_path: Path) -> None:
    from duchenne.datasets import catalog

    listed = manifest.write(tmp_path / "list.csv", catalog.entries("casme2", casme2))
    assert micro.examples(listed) == micro.examples(casme2)
    table = listed.read_text(encoding="utf-8").replace(",200,", ",,")
    listed.write_text(table, encoding="utf-8")
    with pytest.raises(InputError, match="has no timestamps; pass --rate"):
        micro.examples(listed)
    assert {row.rate for row in micro.examples(listed, rate=100.0)[0]} == {100.0}


def test_invalid_rate_is_refused(tmp_path: Path) -> None:
    for text in ("fast", "-5", "inf", "0"):
        with pytest.raises(InputError, match=rf"has the rate '{text}'; expected frames per second, for example 200\.$"):
            manifest.rate_of(Entry(Clip("a.h264"), {"rate": text}))
    assert manifest.rate_of(Entry(Clip("a.h264"), {"rate": "59.94"}), 25.0) == 59.94
    assert manifest.rate_of(Entry(Clip("a.h264")), 25.0) == 25.0
    assert manifest.rate_of(Entry(Clip("a.mp4"), {"rate": "59.94"}), 25.0) is None  # it stores its times


def test_data_without_micro_expressions_are_refused(tmp_path: Path, casme2: Path) -> None:
    with pytest.raises(InputError, match=r"is not a known copy of CASME II, SAMM or SMIC"):
        micro.examples(tmp_path)
    with pytest.raises(UsageError, match=r"one of emotions, labelled, three, found 'five'"):
        micro.examples(casme2, "five")
    listed = tmp_path / "list.csv"
    listed.write_text("path,subject,emotion,label\na.npz#3,1,happiness,\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"expected a video or a folder of images"):
        micro.examples(listed)


# --- learning ------------------------------------------------------------------------------------------------------


def predictions(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO((folder / "predictions.csv").read_text(encoding="utf-8"))))


def test_left_out_people_are_classified_and_reported(trained: tuple[Path, dict, list[str]]) -> None:
    out, card, said = trained
    assert (card["people"], card["clips"], card["counts"]) == (3, 12, {"disgust": 6, "happiness": 6})
    assert card["left_out"] == {"without_a_class": 1, "unreadable": 0}
    assert card["uf1"] >= 0.75 and card["uar"] >= 0.75  # chance is 0.5: the order of the pictures is all that differs
    confusion = np.array(card["confusion"])
    assert confusion.sum() == 12 and card["accuracy"] == pytest.approx(np.trace(confusion) / 12)
    assert card["uar"] == pytest.approx(np.mean(np.diag(confusion) / confusion.sum(axis=1)))
    assert set(card["per_person"]) == {"sub01", "sub02", "sub03"}
    assert sum(row["right"] for row in card["per_person"].values()) == np.trace(confusion)
    assert [line for line in said if line.startswith("person 3 of 3, sub03: ")]
    rows = predictions(out)
    assert sum(row["label"] == row["predicted"] for row in rows) == np.trace(confusion)
    assert not list(out.parent.glob(".*"))  # nothing is left of the work


def test_each_person_is_tested_by_a_network_trained_without_them(
    trained: tuple[Path, dict, list[str]], casme2: Path, seeing: Path
) -> None:
    """The answers for sub02 are those of a network that is trained here without sub02."""
    from duchenne.micro import training
    from duchenne.micro.learner import train
    from duchenne.micro.model import predict

    rows, _ = micro.examples(casme2)
    network, about = checkpoints.load(seeing)
    seeing_rows, used = training._seeing(rows, network, about["sha256"], RECIPE, "cpu", lambda text: None)
    x = seeing_rows(np.arange(len(used)), Path())[1]
    y = np.array([row.label == "happiness" for row in used], int)
    out = np.array([row.subject == "sub02" for row in used])
    p = predict(train(RECIPE, x[~out], y[~out], ("disgust", "happiness"))[0], x[out])
    told = [row for row in predictions(trained[0]) if row["subject"] == "sub02"]
    np.testing.assert_allclose([float(r["p_happiness"]) for r in told], p[:, 1], atol=1e-4)


def test_the_network_is_tuned_without_the_person_who_is_left_out(
    casme2: Path, seeing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What every tuning is given, and whose frames: only the last, of the network that is saved, sees all people."""
    given, real = [], tuning.tuned

    def watched(start, clips, labels, recipe, folder, device):
        given.append(clips)
        return real(start, clips, labels, recipe, folder, device)

    monkeypatch.setattr(tuning, "tuned", watched)
    recipe = replace(RECIPE, epochs=2, tune_epochs=1)
    card = micro.train(casme2, tmp_path / "out", recipe, features=seeing, log=lambda text: None)
    assert "tuned for 1 epochs with each of them, on frames of its training people alone" in card["protocol"]
    assert [len(clips) for clips in given] == [4 * (PEOPLE - 1)] * PEOPLE + [4 * PEOPLE]
    every = given[-1]
    for i, clips in enumerate(given[:-1]):  # the clips of each person lie side by side
        assert [every.index(clip) for clip in clips] == [k for k in range(4 * PEOPLE) if k // 4 != i]
    rows, words = every[0].frames("disgust")
    assert rows[1] == every[0].apex and words[:3] == ["disgust"] * 3 and set(words[3:]) <= {"neutral"}
    before, after = (checkpoints.load(place)[0] for place in (seeing, tmp_path / "out"))
    assert set(after.expression.classes) >= {"happiness", "disgust"}
    assert not torch.equal(before.network.trunk[0].weight, after.expression.network.trunk[0].weight)


def test_duchenne_score_reads_its_predictions(trained: tuple[Path, dict, list[str]], duchenne) -> None:
    said = duchenne("score", trained[0] / "predictions.csv")
    assert said.code == 0 and f"{trained[1]['uf1']:.3f}" in said.out + said.err, said


@pytest.mark.slow
def test_killed_training_resumes_with_the_same_command(
    casme2: Path, seeing: Path, trained: tuple[Path, dict, list[str]], tmp_path: Path
) -> None:
    def kill(text: str) -> None:
        if text.startswith("person 2"):
            raise KeyboardInterrupt

    out = tmp_path / "mine"
    with pytest.raises(KeyboardInterrupt):
        micro.train(casme2, out, RECIPE, features=seeing, log=kill)
    assert not out.exists() and (tmp_path / ".mine.work" / "without-1").is_dir()
    with pytest.raises(UsageError, match=r"other movements or settings"):
        micro.train(casme2, out, replace(RECIPE, hidden_size=5), features=seeing, log=lambda text: None)
    micro.train(casme2, out, RECIPE, features=seeing, log=lambda text: None)
    same = (out / "weights.safetensors").read_bytes() == (trained[0] / "weights.safetensors").read_bytes()
    assert same and (out / "predictions.csv").read_text() == (trained[0] / "predictions.csv").read_text()


def listing(path: Path, rows: list[tuple[object, ...]]) -> Path:
    text = StringIO()
    table = csv.writer(text)
    table.writerow(["path", "subject", "emotion", "label", "start", "end", "rate"])
    table.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            [("a.mp4", 1, "happiness"), ("b.mp4", 2, "happiness")],
            r"only 'happiness', expected two classes or more",
        ),
        ([("a.mp4", 1, ""), ("b.mp4", 2, "")], r"has clips of none, expected two classes"),
        ([("a.mp4", 1, "happiness"), ("b.mp4", 1, "fear")], r"clips of one person, 1, expected two or more; add"),
        ([("a.mp4", 1, "happiness"), ("b.mp4", 2, "fear")], r"has only 'fear' without person 1"),
    ],
)
def test_too_few_people_or_classes_are_refused_before_a_clip_is_read(
    rows: list[tuple[object, ...]], told: str, tmp_path: Path, seeing: Path
) -> None:
    data = listing(tmp_path / "list.csv", rows)
    with pytest.raises(InputError, match=told):
        micro.train(data, tmp_path / "out", RECIPE, features=seeing)


def test_unreadable_clips_are_logged_and_left_out(tmp_path: Path, casme2: Path, seeing: Path, empty_room: Path) -> None:
    kept = [(r.path, r.subject, r.label, "", r.start, r.end, 200) for r in micro.examples(casme2)[0]]
    data = listing(tmp_path / "list.csv", [*kept, (empty_room, 9, "fear"), (tmp_path / "gone.mp4", 9, "fear")])
    said: list[str] = []
    card = micro.train(data, tmp_path / "out", replace(RECIPE, epochs=1), features=seeing, log=said.append)
    assert card["left_out"] == {"without_a_class": 0, "unreadable": 2} and card["clips"] == 12
    assert sum(line.startswith("left out: ") for line in said) == 2
    assert any("no face" in line for line in said) and any("no file" in line for line in said)


# --- spotting ------------------------------------------------------------------------------------------------------


def near(row: dict[str, object]) -> None:
    """Onset within 0.06 s, apex within 0.05 s, offset within 0.08 s of the smile, and IoU above half."""
    onset, apex, fall, end = BRIEF.moments
    assert float(row["onset"]) == pytest.approx(onset, abs=0.06)
    assert float(row["apex"]) == pytest.approx((apex + fall) / 2, abs=0.05)
    assert float(row["offset"]) == pytest.approx(end, abs=0.08)
    assert iou((float(row["onset"]), float(row["offset"])), (onset, end)) > 0.5


def test_a_brief_smile_in_a_video_is_spotted_and_named(
    brief: Path, trained: tuple[Path, dict, list[str]], tmp_path: Path, duchenne
) -> None:
    out = tmp_path / "found.json"
    said = duchenne("micro-expressions", brief, "--model", trained[0], "-o", out, "--device", "cpu")
    assert said.code == 0 and said.out == "" and "1 micro-expression in 1.19 s at 200 frames per second" in said.err
    found = json.loads(out.read_text(encoding="utf-8"))
    (row,) = found["spots"]
    near(row)
    assert "lip corner" in row["parts"] and found["rate"] == pytest.approx(200) and found["warnings"] == []
    p = {name: row[f"p_{name}"] for name in ("happiness", "disgust")}
    assert sum(p.values()) == pytest.approx(1, abs=2e-4) and row["expression"] == max(p, key=p.get)
    assert found["model"]["id"] == "mine" and "lie" in found["limits"]


@pytest.mark.slow
def test_a_folder_of_images_needs_its_rate(tmp_path: Path, duchenne) -> None:
    pictures = simulate.frames(BRIEF, rate=100, size=(320, 240), seed=5)
    write_images(tmp_path / "images", list(pictures), "{:04}.jpg", 1)
    said = duchenne("micro-expressions", tmp_path / "images", "--rate", 100)
    assert said.code == 0, said.err
    (row,) = csv.DictReader(StringIO(said.out))
    near(row)
    assert "p_happiness" not in row
    assert "pass --rate" in duchenne("micro-expressions", tmp_path / "images").sentence
    assert "--rate must be" in duchenne("micro-expressions", tmp_path / "images", "--rate", 0).sentence
    slow = duchenne("micro-expressions", tmp_path / "images", "--rate", 5)
    assert "5 frames per second" in slow.sentence and slow.code == 1


def test_25_frames_per_second_give_a_warning(smile: Path, duchenne) -> None:
    said = duchenne("micro-expressions", smile)
    assert said.code == 0 and said.out.startswith("onset,apex,offset,duration,size,clear,parts\n")
    assert "note: 25 frames per second are too few for micro-expressions" in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "smile"], "smile is a duchenne-descriptors model, expected duchenne-micro; choose another model."),
        (["--model", "nowhere"], "There is no model 'nowhere'"),
        (["-o", "found.txt"], "use a name that ends in .csv or .json"),
        (["--rate", "30"], "--rate is for bare streams and folders of images only."),
        (["--device", "abacus", "--model"], "There is no device 'abacus'"),
    ],
)
def test_wrong_use_is_one_sentence(
    words: list[str], told: str, smile: Path, trained: tuple[Path, dict, list[str]], duchenne
) -> None:
    words = [*words, str(trained[0])] if words[-1] == "--model" else words
    assert told in duchenne("micro-expressions", smile, *words).sentence


def test_single_images_are_refused_in_one_sentence(
    empty_room: Path, pictures: list[np.ndarray], tmp_path: Path, duchenne
) -> None:
    assert "shows no face: none was found in 10 frames" in duchenne("micro-expressions", empty_room).sentence
    one = make_video(tmp_path / "one.mp4", pictures[:1])
    assert "is a single image, expected a movement" in duchenne("micro-expressions", one).sentence
    few = make_video(tmp_path / "few.mp4", pictures[:8])
    assert "for 0.28 s without a gap" in duchenne("micro-expressions", few).sentence


def test_training_from_the_command_line(casme2: Path, seeing: Path, tmp_path: Path, duchenne) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("hidden_size = 12\nframes = 8\nepochs = 25\nbatch_size = 4\n", encoding="utf-8")
    words = ("--data", casme2, "-o", tmp_path / "model", "--features", seeing, "--recipe", recipe, "--device", "cpu")
    said = duchenne("train", "micro-expressions", *words)
    card = json.loads((tmp_path / "model" / "card.json").read_text(encoding="utf-8"))
    assert said.code == 0 and f"UF1 {card['uf1']:.3f}, UAR {card['uar']:.3f} (chance 0.500)" in said.out
    assert "right per person: sub01 " in said.out and "person 1 of 3, sub01" in said.err
    wrong = duchenne("train", "micro-expressions", "--data", tmp_path, "-o", tmp_path / "other", "--features", seeing)
    assert "is not a known copy of CASME II" in wrong.sentence
    with pytest.raises(ModelError):
        checkpoints.load_classifier(tmp_path / "model")


def test_spotting_is_scored_over_long_clips(brief: Path, empty_room: Path, tmp_path: Path) -> None:
    """One video with the smile as its truth, and one second that is wrongly said to hold one: 1 hit, 1 miss."""
    onset, _, _, end = BRIEF.moments
    rows = [(brief, 1, "", "", onset, end), (brief, 1, "", "", 0.9, 1.1), (brief, 1, "", "", 0.0, 1.1)]
    data = listing(tmp_path / "list.csv", rows)
    scores = micro.spotting_scores(data)
    assert (scores["tp"], scores["fp"], scores["fn"], scores["clips"]) == (1, 0, 1, 1)
    assert scores["f1"] == pytest.approx(2 / 3) and len(scores["per_clip"][str(brief)]["truth"]) == 2
    with pytest.raises(InputError, match=r"no clip that could be read"):
        micro.spotting_scores(listing(data, [(empty_room, 1, "", "", 0.0, 0.3)]), log=lambda text: None)
    with pytest.raises(InputError, match=r"has no start and end of its"):
        micro.spotting_scores(listing(data, [(brief, 1)]))
