"""Generation against a closed loop by hand; the drawn face against its points; the command as a person calls it."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from duchenne import checkpoints, video
from duchenne.datasets import simulate
from duchenne.errors import InputError, ModelError, UsageError
from duchenne.features.points40 import points40
from duchenne.features.sequences import HALF_FACE, SequenceReader
from duchenne.lstm_pb.model import PBModel
from duchenne.lstm_pb.movement import STRAY, Movement, move, neutral
from duchenne.lstm_pb.recipe import READINGS, PBRecipe
from duchenne.lstm_pb.solved_network import SolvedBag
from duchenne.plots import sketch
from duchenne.preprocess import align
from duchenne.types import LABELS

SIZES = {"hidden_size": 8, "num_layers": 1, "pb_size": 4, "context_size": 4, "epochs": 2, "batch_size": 4}
PAPER = {"validation_fraction": 0.25}
OWN = {"solved": {}, "published-code": PAPER, "paper": PAPER | {"recognition_steps": 2}}
PEOPLE = 4


def learnt(reading, **settings):
    """A model of eight simulated clips of four people, half of them posed."""
    tracks = [simulate.track(simulate.POSED if i % 2 else simulate.SPONTANEOUS, 25.0, seed=i) for i in range(8)]
    labels, people = np.arange(8) % 2, np.array([f"p{i // 2}" for i in range(8)])
    emotions = np.array(["happiness", "sadness"])[np.arange(8) // 4]
    model = PBModel(PBRecipe(reading, **SIZES, **OWN.get(reading, OWN["paper"]), **settings)).fit(
        tracks, labels, people, emotions
    )
    for vectors in model.typical.values():  # two epochs leave the classes alike; here they are to differ
        vectors += torch.tensor([[1.0], [-1.0]])
    return model


@pytest.fixture(scope="module", params=READINGS)
def model(request):
    return learnt(request.param)


@pytest.fixture(scope="module")
def apart():
    """One network per emotion."""
    return learnt("rnnpb", per_emotion=True)


@pytest.fixture(scope="module")
def folder(apart, tmp_path_factory):
    return checkpoints.save(apart, tmp_path_factory.mktemp("models") / "mine", name="mine")


# --- the closed loop ------------------------------------------------------------------------------------------------


def following(network, x, pb):
    """The frame after x (1, T, D). Of a bag it is the mean of what all networks say, each with its part of PB."""
    if not isinstance(network, SolvedBag):
        return network(x, pb)[0][:, -1]
    found = []
    for each, own in zip(network.members, pb.chunk(len(network.members), dim=1), strict=True):
        _, expected, gates, _ = each._terms(x, torch.ones(x.shape[:2], dtype=torch.bool))
        ahead = (expected + gates * (own @ each.mix.T)[:, None])[:, -1, : each.config.parts]
        found.append(x[:, -1] + ahead / each.targets_scale[0] @ each.basis.T)
    return torch.stack(found).mean(dim=0)


def by_hand(network, pb, start, steps):
    """In eye distances, every frame from the whole sequence before it, read anew each time; no state is carried."""
    frames = [torch.from_numpy(start)]
    for _ in range(steps):
        with torch.no_grad():
            frames.append(following(network, torch.stack(frames)[None], pb[None])[0])
    raw = torch.stack(frames).double().numpy().reshape(-1, 40, 2)
    right, left = raw[0, 16:22].mean(axis=0), raw[0, 22:28].mean(axis=0)
    return (raw - (right + left) / 2) / np.linalg.norm(left - right)


@pytest.mark.parametrize("label", LABELS)
def test_each_frame_is_the_prediction_from_those_before(model, label):
    found = move(model, label, 0.8)
    pb = model.typical[""][LABELS.index(label)]
    np.testing.assert_allclose(found.points, by_hand(model.networks[""], pb, neutral(model.reader), 10), atol=2e-5)
    np.testing.assert_allclose(found.time, np.arange(11) / 12.5)
    again = move(model, label, 0.8)
    np.testing.assert_array_equal(again.points, found.points)


def test_mix_goes_from_one_class_to_the_other(model):
    posed, genuine = (move(model, label, 1.0).points for label in LABELS)
    assert np.abs(posed - genuine).max() > 1e-4  # the PB vector tells
    np.testing.assert_array_equal(move(model, "posed", 1.0, mix=1.0).points, genuine)
    np.testing.assert_allclose(
        move(model, "posed", 1.0, mix=0.25).points, move(model, "genuine", 1.0, mix=0.75).points, atol=1e-6
    )
    middle = model.typical[""].mean(dim=0, keepdim=True).expand(2, -1)
    between = move(replace(model, typical={"": middle}), "posed", 1.0).points
    np.testing.assert_allclose(move(model, "posed", 1.0, mix=0.5).points, between, atol=1e-6)


def test_the_mean_face_is_scaled_as_the_reader_scales():
    template = points40(align.template()[None, :, :2])[0]
    np.testing.assert_allclose(neutral(SequenceReader(12.5)).reshape(40, 2), template / HALF_FACE, atol=1e-4)
    low, high = template.min(axis=0), template.max(axis=0)
    boxed = (template - (low + high) / 2) / (0.75 * (high - low).max())
    np.testing.assert_allclose(neutral(SequenceReader(12.5, head=True)).reshape(40, 2), boxed, atol=1e-4)
    still = neutral(SequenceReader(12.5, pose=True))  # and its head is straight and where it is all the time
    np.testing.assert_array_equal(still[:80], neutral(SequenceReader(12.5)))
    np.testing.assert_allclose(still[80:], 0, atol=1e-4)


def test_frames_with_head_curves_are_drawn_by_their_points():
    model = learnt("solved", pose=True)
    network, start = model.networks[""], torch.from_numpy(neutral(model.reader))
    raw = network.generate(model.typical[""][:1], start[None, None], 10)[0]
    assert raw.shape == (10, 86) and (raw[:, 80:] - start[80:]).abs().max() > 1e-4
    raw = torch.cat([start[None], raw])[:, :80].double().numpy().reshape(-1, 40, 2)
    right, left = raw[0, 16:22].mean(axis=0), raw[0, 22:28].mean(axis=0)
    expected = (raw - (right + left) / 2) / np.linalg.norm(left - right)
    np.testing.assert_allclose(move(model, "posed", 0.8).points, expected, atol=1e-9)


def test_a_seed_frame_is_where_generation_starts(model):
    seed = neutral(model.reader) * 0.9 + 0.02  # smaller and moved: in eye distances it is the same face
    points = move(model, "posed", 0.4, seed=seed).points
    np.testing.assert_allclose(points[0], move(model, "posed", 0.4).points[0], atol=1e-5)
    assert np.abs(points[1:] - move(model, "posed", 0.4).points[1:]).max() > 5e-4


def test_other_rates_pass_through_the_same_points():
    time, rng = np.arange(6) / 10, np.random.default_rng(0)
    movement = Movement(time, rng.normal(size=(6, 40, 2)).cumsum(axis=0))
    np.testing.assert_allclose(movement.at(10, 0.5).points, movement.points[:5])
    fine = movement.at(100, 0.5)
    assert len(fine.time) == 50 and fine.time[-1] == pytest.approx(0.49)
    np.testing.assert_allclose(fine.points[::10], movement.points[:5], atol=1e-12)
    for i in range(5):  # nothing between two frames goes beyond them
        low, high = np.minimum(*movement.points[i : i + 2]), np.maximum(*movement.points[i : i + 2])
        piece = fine.points[10 * i : 10 * i + 10]
        assert (piece >= low - 1e-9).all() and (piece <= high + 1e-9).all()
    assert len(movement.at(1, 0.1).time) == 1


def test_divergence_is_noted_in_a_sentence():
    model = learnt("rnnpb")
    network = model.networks[""]
    with torch.no_grad():  # every prediction is a frame of ones
        for weight in network.parameters():
            weight.zero_()
        network.out.bias.fill_(20.0)
    (note,) = move(model, "posed", 1.0).notes
    assert note.startswith("The closed loop diverges after 0.08 s: a point moves ") and note.endswith(".")
    with torch.no_grad():  # every prediction is the first frame
        network.out.bias.copy_(torch.atanh(torch.from_numpy(neutral(model.reader))))
    still = move(model, "posed", 1.0)
    assert still.notes == () and still.farthest < 1e-5 < STRAY
    with torch.no_grad():
        network.out.bias[3] = np.nan
    with pytest.raises(ModelError, match="weights are damaged"):
        move(model, "posed", 1.0)


def test_each_emotion_has_its_network(model, apart):
    assert set(apart.networks) == {"happiness", "sadness"}
    for emotion, network in apart.networks.items():
        found, pb = move(apart, "posed", 0.4, emotion=emotion), apart.typical[emotion][0]
        np.testing.assert_allclose(found.points, by_hand(network, pb, neutral(apart.reader), 5), atol=2e-5)
        assert not any("one network" in note for note in found.notes)
    (note,) = [note for note in move(model, "posed", 0.5, emotion="fear").notes if "one network" in note]
    assert note == "This model has one network for all emotions; the generated face is not specific to fear."
    with pytest.raises(UsageError, match=r"each of happiness, sadness, found 'fear'; set --emotion\."):
        move(apart, "posed", 1.0, emotion="fear")
    with pytest.raises(UsageError, match=r"each of happiness, sadness, found no emotion; set --emotion"):
        move(apart, "posed", 1.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"label": "fake"}, "no label 'fake'; choose one of: posed, genuine"),
        ({"seconds": 0.0}, "seconds must lie between 0 and 600, found 0"),
        ({"seconds": float("nan")}, "between 0 and 600"),
        ({"seconds": 1e9}, "between 0 and 600"),
        ({"mix": 1.5}, "mix must lie between 0"),
        ({"mix": float("nan")}, "mix must lie between 0"),
    ],
)
def test_invalid_arguments_are_refused(model, settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        move(model, **{"label": "posed", "seconds": 1.0, **settings})


def test_a_model_before_fit_is_refused():
    with pytest.raises(InputError, match="not been fitted"):
        move(PBModel(PBRecipe()), "posed", 1.0)


# --- the drawing ----------------------------------------------------------------------------------------------------

FACE = points40(align.template()[None, :, :2])


def drawn(points, time=None, title="posed happiness", size=240):
    return list(
        sketch.frames(points, np.arange(len(points)) / 10 if time is None else time, title, "a note", size=size)
    )


def lips(picture):
    """bool (H, W): pixels of the lips and their outline, the only red ones."""
    return picture[..., 0].astype(int) - picture[..., 2] > 40


def test_the_mouth_is_drawn_where_its_points_are():
    wide = np.repeat(FACE, 3, axis=0)
    wide[1, 28:36, 0] *= 1.3
    wide[2, 28:36, 1] += 0.1
    pictures = drawn(wide)
    assert all(picture.dtype == np.uint8 and picture.shape[1] == 240 for picture in pictures)
    scale = 240 / 3.5  # eye distances across the picture
    at = [np.argwhere(lips(picture)) for picture in pictures]
    plain, wider, lower = ((rows.min(axis=0), rows.max(axis=0)) for rows in at)
    assert plain[1][1] - plain[0][1] == pytest.approx(np.ptp(FACE[0, 28:36, 0]) * scale, abs=3)
    assert (plain[1][1] + plain[0][1]) / 2 == pytest.approx(120, abs=1.5)  # the template is symmetric
    assert wider[1][1] - wider[0][1] == pytest.approx(1.3 * np.ptp(FACE[0, 28:36, 0]) * scale, abs=3)
    assert lower[1][0] - plain[1][0] == pytest.approx(0.1 * scale, abs=1.5)


def test_curves_pass_through_every_point_and_stay_near():
    points = np.random.default_rng(1).normal(size=(6, 2))
    curve = sketch._through(points)
    assert len(curve) == 5 * 12 + 1
    np.testing.assert_allclose(curve[::12], points, atol=1e-9)
    straight = np.column_stack([[0.0, 1.0, 1.5, 4.0], np.zeros(4)])
    np.testing.assert_allclose(sketch._through(straight)[:, 1], 0, atol=1e-12)
    assert (np.diff(sketch._through(straight)[:, 0]) > 0).all()
    assert np.isfinite(sketch._through(np.zeros((4, 2)))).all()  # points that fall together


def test_only_the_progress_bar_changes_with_time():
    pictures = drawn(np.repeat(FACE, 5, axis=0))
    strip = round(0.16 * 240)
    blue = [(np.abs(p[strip - 1].astype(int) - [0, 114, 178]) < 30).all(axis=1).sum() for p in pictures]
    np.testing.assert_allclose(blue, [0, 60, 120, 180, 240], atol=2)
    assert all((p[strip:] == pictures[0][strip:]).all() for p in pictures)  # the face does not move
    again = drawn(np.repeat(FACE, 5, axis=0))
    assert all((a == b).all() for a, b in zip(pictures, again, strict=True))


def test_points_outside_and_long_titles_are_clipped():
    far = np.repeat(FACE, 2, axis=0)
    far[1] = far[1] * 40 + 1e6
    assert drawn(far, title="a very long title " * 20)[1].shape == drawn(FACE)[0].shape


# --- the command ----------------------------------------------------------------------------------------------------


def test_generate_writes_a_video_and_the_same_movement_as_a_table(duchenne, folder, apart, tmp_path):
    out = tmp_path / "out.mp4"
    words = ("--label", "posed", "--emotion", "happiness", "--seconds", 1.2, "--mix", 0.5, "--rate", 25)
    said = duchenne("generate", "--model", folder, *words, "-o", out)
    assert said.code == 0 and f"{out} and {out.with_suffix('.csv')}: 30 frames at 25 per second" in said.out
    frames = list(video.frames(out))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / 25, atol=1e-3)
    movement = move(apart, "posed", 1.2, emotion="happiness", mix=0.5).at(25, 1.2)
    with out.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["frame", "time", *(f"{axis}_{i}" for axis in "xy" for i in range(40))]
    np.testing.assert_allclose([float(row["time"]) for row in rows], movement.time, atol=1e-6)
    points = [[[float(row[f"{axis}_{i}"]) for axis in "xy"] for i in range(40)] for row in rows]
    np.testing.assert_allclose(points, movement.points, atol=1e-5)
    assert said.err.splitlines() == list(movement.notes)


def test_the_default_rate_is_the_models(duchenne, folder, tmp_path):
    words = ("--label", "genuine", "--emotion", "sadness", "--seconds", 0.8)
    said = duchenne("generate", "-m", folder, *words, "-o", tmp_path / "a.mp4")
    assert "10 frames at 12.5 per second" in said.out


def test_a_seed_clip_gives_the_first_frame(duchenne, folder, apart, smile, tmp_path):
    from duchenne.clips import load
    from duchenne.types import Clip

    out = tmp_path / "out.mp4"
    words = ("--label", "posed", "--emotion", "sadness", "--seconds", 0.4)
    assert duchenne("generate", "-m", folder, *words, "--seed-clip", smile, "-o", out).code == 0
    first = apart.table([load.read(Clip(str(smile), reader=apart.face_reader))])[0][0].astype(float).reshape(40, 2)
    right, left = first[16:22].mean(axis=0), first[22:28].mean(axis=0)
    with out.with_suffix(".csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    points = [[float(row[f"{axis}_{i}"]) for axis in "xy"] for i in range(40)]
    np.testing.assert_allclose(points, (first - (right + left) / 2) / np.linalg.norm(left - right), atol=1e-4)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model", "smile"), "Model smile has no PB vectors"),
        (("--model", "nowhere"), "There is no model 'nowhere'"),
        (("--label", "fake"), "There is no label 'fake'"),
        (("--emotion", "love"), "Emotion 'love' is not known"),
        (("--seconds", "0"), "seconds must lie between 0 and 600"),
        (("--rate", "0"), "between 1 and 240 frames per second, found 0"),
        (("--rate", "nan"), "between 1 and 240 frames per second"),
        (("--out", "out.avi"), ".mp4"),
        (("--seed-clip", "out.mp4"), "out.mp4"),
        (("--seed-clip", "none.mp4"), "none.mp4"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(duchenne, folder, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    given = {"--model": folder, "--label": "posed", "--emotion": "sadness", "--seconds": 1, "--out": "out.mp4"}
    given |= dict([words])
    said = duchenne("generate", *(word for pair in given.items() for word in pair))
    assert sentence in said.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_seed_clip_without_a_face_is_refused(duchenne, folder, empty_room, tmp_path):
    words = ("--label", "posed", "--emotion", "sadness", "--seconds", 1, "--seed-clip", empty_room)
    said = duchenne("generate", "-m", folder, *words, "-o", tmp_path / "out.mp4")
    assert "shows no face" in said.sentence and not list(tmp_path.iterdir())
