"""Clip networks from video files to verdicts: crops cut, learnt from, judged by, on faces that are drawn.

Drawn faces say nothing of how good a network is with people: what is tested is that every step does what it should.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import BRIEF, RATE
from duchenne import checkpoints, judging, pipeline, video
from duchenne.batch.apply import apply
from duchenne.clipnets import training
from duchenne.clipnets.evidence import held_still
from duchenne.clipnets.inputs import FaceCrops
from duchenne.clipnets.learner import ClipLearner, Task
from duchenne.clipnets.recipe import ClipRecipe
from duchenne.clips import cache as clips_cache
from duchenne.clips import crops as clip_crops
from duchenne.clips import load
from duchenne.clips.cache import Cache
from duchenne.clips.rows import table
from duchenne.datasets import manifest, simulate, simulated
from duchenne.errors import InputError, UsageError
from duchenne.evaluation import experiment
from duchenne.learn.calibration import logit
from duchenne.methods import inventory, names
from duchenne.methods.stack import CombinedReader
from duchenne.tabular.rows import Reader
from duchenne.training import data
from duchenne.training.data import cache_in
from duchenne.types import LABELS, Clip
from families import SMALL_CONTEXT
from makers import make_video

TINY = """
kind = "lstm"
backbone = "expression"
frames = 6
image_size = 24
channels = 1
hidden_size = 8
dropout = 0.0
epochs = 2
batch_size = 4
validation_fraction = 0.25
learning_rate = 1e-3
"""


def quiet(text: str) -> None:
    """For trainings whose words do not matter."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 5 drawn people with a clip of each label, small and brief, and of a room without anybody."""
    folder = tmp_path_factory.mktemp("videos")
    clips = []
    for i, person in enumerate(simulated.cast(5, 0)):
        for k, label in enumerate(LABELS):
            kin = replace(BRIEF, onset=0.3 if label == "posed" else 0.6)
            pictures = simulate.frames(kin, rate=RATE / 3, size=(320, 240), seed=10 * i + k, person=person)
            file = make_video(folder / f"{person.name}-{label}.mp4", pictures, rate=RATE // 3)
            clips.append(Clip(str(file), person.name, "happiness", label))
    shade = np.repeat(np.tile(np.linspace(40, 160, 160).astype(np.uint8), (120, 1))[..., None], 3, axis=2)
    room = make_video(folder / "room.mp4", [shade] * 5, rate=RATE)
    clips.append(Clip(str(room), "nobody", "happiness", "posed"))
    return manifest.write(folder / "videos.csv", clips)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that is learnt in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def cache(videos: Path) -> Path:
    """Where all trainings here keep what they read."""
    return videos.parent / "cache"


@pytest.fixture(scope="module")
def model(videos: Path, tiny: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained model."""
    out = tmp_path_factory.mktemp("model") / "tiny"
    said: list[str] = []
    training.train(videos, out, tiny, device="cpu", cache=cache, log=said.append)
    (out.parent / "said.txt").write_text("\n".join(said))
    return out


# ---- training


def test_a_training_writes_a_model_with_a_card_and_a_curve(model: Path, videos: Path, cache: Path) -> None:
    card = json.loads((model / "card.json").read_text())
    assert (card["people"], card["clips"], card["genuine"], card["judged"]) == (5, 10, 5, 2)
    assert card["data"] == videos.name and card["input"] == "6 frames 24×24 grey"
    assert "1 people held out" in card["protocol"] and "terms of the clips in videos.csv" in card["licence"]
    assert card["clips_per_second"] > 0 and 0 <= card["waited_for_clips"] <= 1
    assert judging.load_model(model).card["reference"]["answers"] == {}  # two answers would tell of persons
    (curve,) = json.loads((model / "curve.json").read_text()).values()
    assert [row["epoch"] for row in curve] == [1, 2] and (model / "curve.png").is_file()
    assert not model.with_name(".tiny.work").exists() and len(list(cache.glob("*.npy"))) == 10


def test_unreadable_clips_and_the_cache_are_named(model: Path, cache: Path) -> None:
    said = (model.parent / "said.txt").read_text()
    assert "left out: " in said and "room.mp4 shows no face" in said
    assert "10 of 11 clips read, of 5 people" in said and f"images of faces are cached in {cache}" in said
    assert "Calibrated on 1 people only: its probabilities may be overconfident" in said
    assert "epoch 2 of 2: loss " in said and ", people left out " in said


def test_another_network_reuses_tracks_and_crops(
    videos: Path, tiny: Path, cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips_cache, "read_faces", lambda *_, **__: pytest.fail("followed again"))
    before = set(cache.glob("*.npy"))
    alone = manifest.write(tmp_path / "some.csv", [c for c in manifest.read(videos) if c.subject != "nobody"])
    other = ClipRecipe.read(tiny, hidden_size=4)
    training.train(alone, tmp_path / "m", other, device="cpu", cache=cache, log=quiet)
    assert set(cache.glob("*.npy")) == before  # of the same framing and moments
    small = replace(other, image_size=16)
    training.train(alone, tmp_path / "m", small, device="cpu", cache=cache, resume=False, log=quiet)
    assert len(set(cache.glob("*.npy")) - before) == 10


def test_a_killed_training_resumes_and_ends_with_the_same_model(
    videos: Path, tiny: Path, cache: Path, model: Path, tmp_path: Path
) -> None:
    def kill(stage: str, done: int, total: int) -> None:
        if stage == "training":
            raise KeyboardInterrupt

    out, said = tmp_path / "tiny", list[str]()
    with pytest.raises(KeyboardInterrupt):
        training.train(videos, out, tiny, device="cpu", cache=cache, log=quiet, tick=kill)
    assert not out.exists()
    with pytest.raises(UsageError, match="with other clips or settings"):
        training.train(videos, out, ClipRecipe.read(tiny, hidden_size=6), device="cpu", cache=cache, log=quiet)
    training.train(videos, out, tiny, device="cpu", cache=cache, log=said.append)
    assert any(line.startswith("resuming the training") for line in said)
    weights = "weights.safetensors"
    assert (out / weights).read_bytes() == (model / weights).read_bytes()


def test_clips_may_be_read_by_several_processes(videos: Path, tiny: Path, tmp_path: Path, model: Path) -> None:
    clips, reader = manifest.read(videos)[-2:], ClipRecipe.read(tiny).reader
    said = list[str]()
    listed = manifest.write(tmp_path / "two.csv", clips)

    def read(jobs: int) -> Any:
        return data.read(listed, (reader,), cache_in(tmp_path / str(jobs)), jobs=jobs, log=said.append).x

    (face,), (same,) = read(2), read(1)
    np.testing.assert_array_equal(face.at(np.arange(6)), same.at(np.arange(6)))
    assert sum("room.mp4 shows no face" in line for line in said) == 2


def test_errors_are_raised_before_any_clip_is_read(videos: Path, tiny: Path, tmp_path: Path) -> None:
    def read(*_: Any) -> None:
        pytest.fail("a clip was read")

    for options, says in (
        ({"device": "cuda:9"}, "no device 'cuda:9'"),
        ({"weights": tmp_path / "gone.pth"}, "There are no weights"),
    ):
        with pytest.raises((InputError, UsageError), match=says):
            training.train(videos, tmp_path / "m", tiny, log=quiet, tick=read, **options)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="is a file"):
        training.train(videos, tmp_path / "file" / "m", tiny, log=quiet, tick=read)


def test_a_manifest_without_usable_clips_is_refused(videos: Path, tiny: Path, tmp_path: Path) -> None:
    room = manifest.write(tmp_path / "room.csv", manifest.read(videos)[-1:])
    with pytest.raises(InputError, match=r"room\.csv has no labelled clip that could be read"):
        training.train(room, tmp_path / "m", tiny, device="cpu", log=quiet)


def test_a_network_of_points_trains_on_packed_tracks(tmp_path: Path) -> None:
    corpus = simulated.data_set(tmp_path / "c", people=5, clips=4, rate=25, seed=0)
    recipe = ClipRecipe.read("points-lstm", epochs=1, n_networks=2, width=8, hidden_size=8, fps=25.0, frames=250)
    card = training.train(corpus, tmp_path / "m", recipe, device="cpu", log=quiet)
    assert card["clips"] == 20 and card["judged"] == 20 and "person-disjoint" in card["protocol"]
    assert card["input"] == "250 frames at 25 per second of points"
    assert {path.name for path in tmp_path.iterdir()} == {"c", "m"}  # what was learnt on the way is gone
    table = apply(tmp_path / "m", next((tmp_path / "c").glob("*.npz")))
    assert len(table) == 20 and table["p_raw"].notna().all()
    said = judging.load_model(tmp_path / "m").card["reference"]["answers"]["all"]  # which places a clip among people
    assert {label: (said[label]["clips"], said[label]["people"]) for label in LABELS} == dict.fromkeys(LABELS, (10, 5))


def test_conv3d_training_does_not_depend_on_uninitialised_memory() -> None:
    """In bfloat16 on a CPU torch 2.13 reads memory that nobody wrote where 2 frames are left: gradients were NaN."""
    recipe = ClipRecipe.read("cnn3d", epochs=1, batch_size=4, image_size=32, frames=5)
    rng, found = np.random.default_rng(0), set()
    clips = [FaceCrops(rng.integers(0, 256, (5, 32, 32, 3), np.uint8), np.arange(5)) for _ in range(6)]
    for _ in range(6):
        task = Task(clips, np.arange(6) % 2, np.full(6, -1), 0, np.array([4, 5]))
        learner = ClipLearner(recipe, task, 0, workers=0)
        spoilt = [np.full(size, np.nan) for size in (10**3, 10**4, 10**5, 10**6)]
        del spoilt
        list(learner.epoch(np.random.default_rng(0), 1.0))
        found.add(learner.score())
    assert len(found) == 1 and np.isfinite(found.pop())


# ---- commands


def test_every_network_has_its_command(duchenne: Callable[..., Any]) -> None:
    listed = duchenne("train", "--help").out
    for name in ClipRecipe.shipped():
        assert name in listed
        assert name in names.LEARNERS


def test_training_by_command(
    videos: Path, tiny: Path, cache: Path, tmp_path: Path, duchenne: Callable[..., Any]
) -> None:
    words = ("--manifest", videos, "--cache", cache, "--recipe", tiny, "--epochs", 1, "--device", "cpu")
    said = duchenne("train", "expression-lstm", *words, "-o", tmp_path / "m", "--image-size", 24, "--frames", 5)
    assert said.code == 0, said.err
    assert "5 people, 10 clips; on 2 clips of held-out people accuracy" in said.out
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    assert about["recipe"]["frames"] == 5 and about["recipe"]["epochs"] == 1
    wrong = duchenne("train", "expression-lstm", *words, "-o", tmp_path / "m", "--backbone", "vgg99")
    assert wrong.code == 2 and "There is no backbone 'vgg99'" in wrong.sentence


def test_networks_are_listed_with_their_cost(duchenne: Callable[..., Any]) -> None:
    """Sizes against those that torch's own modules have, counted here; and what papers print of ResNet50."""
    said = duchenne("models", "list", "--networks")
    lines = {line.split()[0]: line for line in said.out.splitlines()}
    assert said.code == 0 and {*lines} == {*ClipRecipe.shipped()} and "have their own terms" in said.err
    assert "20 frames 112×112 RGB" in lines["resnet50-lstm"] and "torchvision's resnet50" in lines["resnet50-lstm"]
    found = inventory.network("resnet50-lstm")
    trunk = 25_557_032 - 2_049_000  # torchvision's resnet50 without its classifier of 1,000 things
    lstm = 4 * 256 * (2048 + 256 + 2)
    assert found.weights == trunk + lstm + 256 + 1
    # 4.09 billion at 224 pixels with the classifier; at 112 a quarter and a little, as 7×7 maps become 4×4
    assert found.multiply_adds == pytest.approx(20 * (4.09e9 / 4 + 4 * 256 * (2048 + 256)), rel=0.07)
    videos = inventory.network("resnet3d-18")
    assert videos.weights == 33_371_472 - (512 * 400 + 400) + 513  # r3d_18 with a head of one answer


def test_models_are_listed_with_size_speed_and_terms(model: Path, duchenne: Callable[..., Any]) -> None:
    (line,) = duchenne("models", "list", model).out.splitlines()
    card = json.loads((model / "card.json").read_text())
    held = sum(p.numel() for p in checkpoints.load(model)[0].networks[0].state_dict().values())
    assert inventory.weights(checkpoints.read(model)) == held
    for told in (f"reads {card['input']}", f"{card['clips_per_second']:g} clips per second on cpu", card["licence"]):
        assert told in line
    shipped = checkpoints.shipped()
    size = {name: inventory.weights(checkpoints.read(folder)) for name, folder in shipped.items()}
    assert size["default-0.1"] == size["lstm-pb"] > 0 and size["default"] == size["smile"] == 0  # trees


# ---- judging


def test_a_verdict_is_the_networks_prediction_for_the_clip(model: Path, videos: Path, cache: Path) -> None:
    """The same frames, cut alike, in training and in use."""
    clip = manifest.read(videos)[0]
    (found,) = pipeline.examine(clip.path, model=model)
    loaded = judging.load_model(model)
    assert loaded.borrows_descriptors
    sample = clip_crops.read(clip, loaded.model.reader, cache_in(cache))
    x = loaded.model.table([sample])
    assert found.p_raw == pytest.approx(float(loaded.model.predict_table(x)[0, 1]), abs=1e-6)
    told = " / ".join(found.verdict.history)
    assert "clip_crops: 6 of " in told
    assert f"judge: clip network '{model.name}'" in told
    assert found.verdict.model["id"] == model.name and found.verdict.emotion
    features = {item.feature for item in found.verdict.evidence}
    assert features == {f"The {name} quarter of the clip" for name in ("first", "second", "third", "last")}


def test_evidence_is_the_loss_of_log_odds_with_a_quarter_held_still(model: Path, videos: Path, cache: Path) -> None:
    loaded: Any = checkpoints.load(model)[0]
    x = loaded.table([clip_crops.read(manifest.read(videos)[1], loaded.reader, cache_in(cache))])
    found = {item.descriptor: item for item in loaded.evidence(x)}
    held = {
        "clip.first": [2, 2, 2, 3, 4, 5],
        "clip.second": [0, 1, 1, 1, 4, 5],
        "clip.third": [0, 1, 2, 3, 3, 5],
        "clip.last": [0, 1, 2, 3, 4, 4],
    }
    clips = np.empty(5, object)  # in one batch: the last digits of a network's outputs depend on what is beside a clip
    clips[:] = [x[0], *(replace(x[0], rows=x[0].rows[rows]) for rows in held.values())]
    p = loaded.predict_table(clips)[:, 1]
    for name, alone in zip(held, p[1:], strict=True):
        assert found[name].contribution == pytest.approx(float(logit(p[0]) - logit(alone)), rel=1e-6, abs=1e-9)
        assert found[name].value == pytest.approx(float(alone), abs=1e-9)
    one = np.empty(1, object)
    one[0] = replace(x[0], rows=x[0].rows[:1])
    assert loaded.evidence(one) == ()
    points = np.arange(8.0)[:, None]
    assert held_still(points, np.array([2, 3]))[:, 0].tolist() == [0, 1, 1, 1, 4, 5, 6, 7]
    assert held_still(points, np.array([0, 1]))[:, 0].tolist() == [2, 2, 2, 3, 4, 5, 6, 7]


def test_analyze_by_command_writes_everything(
    model: Path, videos: Path, tmp_path: Path, duchenne: Callable[..., Any]
) -> None:
    clip = manifest.read(videos)[0].path
    said = duchenne("analyze", clip, "--model", model, "-o", tmp_path / "a", "--json", "--device", "cpu")
    assert said.code == 0, said.err
    assert json.loads(said.out)["device"] == "cpu"
    assert (tmp_path / "a" / "report.html").is_file() and (tmp_path / "a" / "verdict.json").is_file()
    wrong = duchenne("analyze", clip, "--model", model, "--device", "tpu")
    assert wrong.code == 2 and "There is no device 'tpu'" in wrong.sentence


def test_a_part_of_a_clip_is_scored_by_its_own_frames(model: Path, videos: Path) -> None:
    clip = manifest.read(videos)[0].path
    (part,) = pipeline.examine(clip, model=model, start=0.4, end=2.0)
    loaded: Any = judging.load_model(model).model
    track = load.read(Clip(clip, start=0.4, end=2.0))
    cut = clip_crops.cut(track, video.frames(clip, start=0.4, end=2.0), loaded.reader)  # type: ignore[arg-type]
    assert part.p_raw == pytest.approx(float(loaded.predict_proba([cut])[0, 1]), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (
            "context",
            {"image_size": 24, "frames": 4, "task": "authenticity", "hidden_size": 8, **SMALL_CONTEXT},
        ),
        ("cnn3d", {"image_size": 32, "frames": 5}),
        pytest.param(
            "resnet50-single",
            {"backbone": "expression", "image_size": 24, "frames": 4, "channels": 3},
            marks=pytest.mark.slow,
        ),
        ("points-cnn", {"width": 8}),
    ],
)
def test_every_kind_goes_from_videos_to_a_verdict(
    name: str, changes: dict[str, Any], videos: Path, cache: Path, model: Path, tmp_path: Path
) -> None:
    recipe = ClipRecipe.read(name, epochs=1, batch_size=4, **changes)
    card = training.train(videos, tmp_path / "m", recipe, device="cpu", cache=cache, log=quiet)
    assert card["clips"] == 10 and card["input"] == training.input_of(recipe.reader)
    (found,) = pipeline.examine(manifest.read(videos)[2].path, model=tmp_path / "m")
    assert 0 <= found.p_raw <= 1 and "clip network 'm'" in " ".join(found.verdict.history)
    assert found.verdict.evidence


def test_tracks_without_crops_are_refused(model: Path, tmp_path: Path, duchenne: Callable[..., Any]) -> None:
    simulated.data_set(tmp_path / "c", people=1, clips=2, rate=25, seed=0)
    said = duchenne("models", "apply", model, next((tmp_path / "c").glob("*.npz")))
    assert said.code == 1 and "reads pixels" in said.sentence and "duchenne analyze" in said.sentence
    with pytest.raises(UsageError, match="has no PB vectors"):
        from duchenne.lstm_pb import generation

        generation.load(model)


# ---- evaluation


@pytest.mark.slow
def test_networks_are_evaluated_on_videos_beside_other_methods(
    videos: Path,
    tiny: Path,
    cache: Path,
    model: Path,
    tmp_path: Path,
    duchenne: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = manifest.write(tmp_path / "sound.csv", [c for c in manifest.read(videos) if c.subject != "nobody"])
    method, out = f"expression-lstm:{tiny}", tmp_path / "e"
    words = ("evaluate", "--manifest", sound, "-o", out, "-m", method, "-m", "boosting", "-m", f"as-is:{model}")
    shutil.copytree(cache, tmp_path / "cache", ignore=shutil.ignore_patterns("*.npy"))  # tracks, no crops
    monkeypatch.setenv("DUCHENNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DUCHENNE_CACHE_LIMIT", "1 GB")
    said = duchenne(*words, "--folds", 5, "--no-baselines")
    assert said.code == 0, said.err
    results = json.loads((out / "results.json").read_text())
    assert results["run"]["clips"] == 10 and results["run"]["unread"] == 0
    assert {*results["methods"]} == {method, "boosting", f"as-is:{model}"}
    crops = list((tmp_path / "cache").glob("*.npy"))
    assert len(crops) == 10  # the finished model reads the same as the method
    loaded: Any = checkpoints.load(model)[0]
    first = manifest.read(sound)[0]
    p = float(loaded.predict_proba([clip_crops.read(first, loaded.reader, Cache())])[0, 1])
    answers = pd.read_csv(out / "predictions.csv").set_index(["method", "video"])["score"]
    assert answers.groupby("method").count().tolist() == [10, 10, 10]
    assert answers[f"as-is:{model}", Path(first.path).name] == pytest.approx(p, abs=1e-4)


def test_a_combined_reader_gives_each_its_own_input(videos: Path, tiny: Path, cache: Path, model: Path) -> None:
    """As a stack of methods has it: descriptors of the whole track beside crops of a few frames."""
    clip, picture = manifest.read(videos)[0], ClipRecipe.read(tiny).reader
    both = CombinedReader((Reader("dynamics"), picture))
    track = load.read(clip, cache_in(cache).read_faces)
    (row,) = table([clip], [track], both, cache_in(cache))
    np.testing.assert_array_equal(row[0], both.readers[0].table([track])[0])
    cut = picture.table([clip_crops.read(clip, picture, cache_in(cache))])[0]
    np.testing.assert_array_equal(row[1].at(np.arange(6)), cut.at(np.arange(6)))
    assert both.crop_readers == picture.crop_readers == (picture,)


def test_a_stack_with_a_network_of_pixels_trains_saves_and_predicts(
    videos: Path, tiny: Path, cache: Path, model: Path, tmp_path: Path, duchenne: Callable[..., Any]
) -> None:
    sound = manifest.write(tmp_path / "sound.csv", [c for c in manifest.read(videos) if c.subject != "nobody"])
    name, out = f"stack:linear-svm:movement+expression-lstm:{tiny}", tmp_path / "m"
    said = duchenne("train", "method", name, "--manifest", sound, "-o", out, "--cache", cache)
    assert said.code == 0 and "5 people, 10 clips" in said.out and f"cached in {cache}" in said.err
    assert json.loads((out / "model.json").read_text())["needs"] == "crops"
    for crops in cache.glob("*.npy"):  # nor is the recipe's file needed any more
        crops.unlink()
    (found,) = pipeline.examine(manifest.read(sound)[0].path, model=out)
    assert 0 < found.p_raw < 1 and f"method '{name}'" in " ".join(found.verdict.history)
    stack: Any = checkpoints.load(out)[0]
    track, (svm, net) = load.read(manifest.read(sound)[0]), stack.members
    seen = clip_crops.read(manifest.read(sound)[0], net.reader, cache_in(cache))
    z = [logit(each.predict_proba([clip])[:, 1])[0] for each, clip in ((svm, track), (net, seen))]
    assert logit(np.array(found.p_raw)) == pytest.approx(float(np.dot(stack.weights, z) + stack.bias), abs=1e-3)
    parts = {item.descriptor: item.contribution for item in found.verdict.evidence}
    assert sum(parts.values()) + stack.bias == pytest.approx(logit(np.array(found.p_raw)), abs=1e-3)
    refused = duchenne("models", "apply", out, next(simulated_tracks(tmp_path)))
    assert "reads pixels" in refused.sentence


def simulated_tracks(folder: Path) -> Iterator[Path]:
    """One packed file."""
    simulated.data_set(folder / "c", people=1, clips=2, rate=25, seed=0)
    yield from (folder / "c").glob("*.npz")


def test_packed_tracks_are_refused_by_networks_of_pixels(
    tmp_path: Path, tiny: Path, duchenne: Callable[..., Any]
) -> None:
    corpus = simulated.data_set(tmp_path / "c", people=4, clips=2, rate=25, seed=0)
    method = f"expression-lstm:{tiny}"
    said = duchenne("evaluate", "--manifest", corpus, "-o", tmp_path / "e", "-m", method, "--folds", 2)
    assert said.code == 1 and f"duchenne: Method '{method}' cannot read these clips" in said.err
    assert said.err.endswith("holds no images, and this model reads pixels; pass the video.\n")


# ---- experiments that are ready to run


@pytest.mark.parametrize("name", ["sase_fe", "pedfe", "uva_nemo"])
def test_experiments_on_videos_name_existing_methods_and_layouts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of files that are named as the corpora name theirs, and weights that are not looked into yet."""
    files = {
        "sase_fe": [f"{i}/{code}.MP4" for i in (1, 2) for code in ("N2H", "S2N2H", "N2A", "H2N2A")],
        "pedfe": [f"{i}_{kind}_1.avi" for i in (10, 11) for kind in ("dg", "ds", "fg", "fs")],
        "uva_nemo": [f"00{i}_{kind}_smile_1.mp4" for i in (1, 2) for kind in ("deliberate", "spontaneous")],
    }[name]
    for file in [*files, *(f"weights/{w}.pth" for w in ("vgg16", "resnet50", "se_resnet50", "r3d_18"))]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    monkeypatch.setenv(f"{name.upper()}_VIDEOS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    plan = experiment.plan(Path(__file__).parents[3] / "experiments" / f"clips_{name}.toml", tmp_path / "out")
    assert len(manifest.read(plan.manifests[0])) == len(files)
    made = [names.make(method) for method in plan.models]
    assert sum(getattr(model, "needs", "") == "crops" for model in made) >= 6
    (tmp_path / "weights" / "resnet50.pth").unlink()
    with pytest.raises(InputError, match=r"initial weights weights/resnet50\.pth not found"):
        [names.make(method) for method in plan.models]
