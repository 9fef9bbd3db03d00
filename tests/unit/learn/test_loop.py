"""The training loop: killed at any moment it ends as if nothing had been, and it never loses its best epoch."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from duchenne.errors import InputError, ModelError
from duchenne.learn import pieces
from duchenne.learn.loop import Schedule, fit


class Line:
    """A line through points, learnt by Adam on random halves of them: weights, moments and a random order to go on
    from. `moment(epoch, step)` is called before each step, where a test may end or spoil the run."""

    def __init__(self, moment=lambda epoch, step: None, held=True, inputs=3):
        torch.manual_seed(0)
        self.x = torch.randn(24, inputs)
        self.y = self.x @ torch.arange(1.0, inputs + 1) + 0.1 * torch.randn(24)
        self.net, self.moment, self.held, self.epochs = torch.nn.Linear(inputs, 1), moment, held, 0
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=0.3)

    def epoch(self, rng, lr_scale):
        self.epochs += 1
        self.optimiser.param_groups[0]["lr"] = 0.3 * lr_scale
        for step in range(4):
            self.moment(self.epochs, step)
            rows = torch.from_numpy(rng.permutation(20)[:10])
            self.optimiser.zero_grad()
            loss = (self.net(self.x[rows])[:, 0] - self.y[rows]).square().mean()
            loss.backward()
            self.optimiser.step()
            yield float(loss.detach())

    @torch.no_grad()
    def score(self):
        return float((self.net(self.x[20:])[:, 0] - self.y[20:]).square().mean()) if self.held else math.nan

    def state(self):
        moments = self.optimiser.state_dict()["state"]
        return {
            **{name: tensor.detach().clone() for name, tensor in self.net.state_dict().items()},
            **{f"adam.{i}.{name}": torch.as_tensor(v) for i, each in moments.items() for name, v in each.items()},
        }

    def restore(self, state):
        self.net.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("adam.")})
        moments = {}
        for name, tensor in state.items():
            if name.startswith("adam."):
                moments.setdefault(int(name.split(".")[1]), {})[name.split(".")[2]] = tensor.clone()
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})


class Scripted:
    """Scores as written; its one weight is the number of the epoch."""

    def __init__(self, scores):
        self.scores, self.weight, self.lr_scales = scores, torch.zeros(1), []

    def epoch(self, rng, lr_scale):
        self.lr_scales.append(lr_scale)
        self.weight = self.weight + 1
        yield 1.0

    def score(self):
        return self.scores[int(self.weight) - 1]

    def state(self):
        return {"weight": self.weight}

    def restore(self, state):
        self.weight = state["weight"].clone()


class Killed(BaseException):
    """The end of the process, as far as the loop can tell."""


SCHEDULE = Schedule(epochs=7, lr_patience=2, lr_factor=0.5, seed=3)


def as_text(learner, curve):
    """Curve and state down to the last bit."""
    state = {name: tensor.numpy().tobytes().hex() for name, tensor in sorted(learner.state().items())}
    return json.dumps([[[repr(v) for v in row.values()] for row in curve], state])


@pytest.fixture(scope="module")
def unbroken():
    learner = Line()
    curve = fit(learner, SCHEDULE)
    assert len(curve) == 7 and not all(row["best"] for row in curve)  # so that the best is not the last
    return as_text(learner, curve)


def goes_on(folder, unbroken):
    learner = Line()
    found = as_text(learner, fit(learner, SCHEDULE, folder))
    assert found == unbroken
    return learner


# --- killed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 2, 5, 7])
@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_resumed_training_ends_bit_for_bit_the_same(tmp_path, unbroken, epoch, step):
    def kill(at_epoch, at_step):
        if (at_epoch, at_step) == (epoch, step):
            raise Killed

    with pytest.raises(Killed):
        fit(Line(kill), SCHEDULE, tmp_path)
    learner = goes_on(tmp_path, unbroken)
    assert learner.epochs == 7 - (epoch - 1)  # whole epochs are not learnt again


def test_a_training_killed_repeatedly_ends_the_same(tmp_path, unbroken):
    def kill(epoch, step):
        if epoch == 2 and step == 2:
            raise Killed

    for _ in range(6):
        with pytest.raises(Killed):
            fit(Line(kill), SCHEDULE, tmp_path)
    assert goes_on(tmp_path, unbroken).epochs == 1


@pytest.mark.parametrize("epoch", range(2, 8))
def test_a_kill_between_tensors_and_curve_is_recovered(tmp_path, unbroken, epoch):
    """The tensors of an epoch are there, the curve still tells of the epoch before."""
    kept = {}

    def watch(row):
        if row["epoch"] == epoch - 1:
            kept.update({path.name: path.read_bytes() for path in tmp_path.iterdir()})

    fit(Line(), Schedule(epoch, 2, 0.5, 0, 3), tmp_path, watch)
    assert set(kept) == {"curve.json", f"epoch-{epoch - 1}.safetensors"}
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    assert goes_on(tmp_path, unbroken).epochs == 7 - (epoch - 1)


def test_a_kill_before_old_tensors_are_removed_is_recovered(tmp_path, unbroken):
    fit(Line(), Schedule(3, 2, 0.5, 0, 3), tmp_path)
    old = tmp_path / "epoch-2.safetensors"
    old.write_bytes((tmp_path / "epoch-3.safetensors").read_bytes())
    assert goes_on(tmp_path, unbroken).epochs == 4
    assert not old.exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process outright")
def test_a_process_that_is_killed_outright_while_it_writes_loses_nothing(tmp_path, unbroken):
    """Once as a file is about to take its place (the third epoch's curve), once in the middle of a step."""
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nimport test_loop as t\n"
        "place, left = Path.replace, [6]\n"
        "def end(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def replace(self, target):\n    left[0] -= 1\n    if not left[0]: end()\n    return place(self, target)\n"
        "for when in ('writing', 'learning'):\n"
        "    if not (child := os.fork()):\n"  # importing torch takes seconds
        "        if when == 'writing': Path.replace = replace\n"
        "        kill = lambda epoch, step: end() if when == 'learning' and (epoch, step) == (3, 2) else None\n"
        "        t.fit(t.Line(kill), t.SCHEDULE, Path(sys.argv[1]))\n"
        "        os._exit(0)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.split() == [str(-signal.SIGKILL)] * 2, run.stderr
    assert len(json.loads((tmp_path / "curve.json").read_text())["curve"]) == 4
    assert goes_on(tmp_path, unbroken).epochs == 3


def test_a_finished_training_is_not_repeated_and_a_longer_one_resumes(tmp_path, unbroken):
    fit(Line(), SCHEDULE, tmp_path)
    assert goes_on(tmp_path, unbroken).epochs == 0
    learner, longer = Line(), Schedule(9, 2, 0.5, 0, 3)
    found = as_text(learner, fit(learner, longer, tmp_path))
    assert learner.epochs == 2
    at_once = Line()
    assert found == as_text(at_once, fit(at_once, longer))


def test_a_folder_changes_nothing_and_another_seed_changes_the_result(tmp_path, unbroken):
    goes_on(tmp_path, unbroken)
    learner = Line()
    assert as_text(learner, fit(learner, Schedule(7, 2, 0.5, 0, 4))) != unbroken


def test_the_folder_holds_one_epoch_as_safetensors_and_the_curve_and_no_pickle(tmp_path):
    from safetensors.numpy import load_file

    learner = Line()
    curve = fit(learner, SCHEDULE, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.json", "epoch-7.safetensors"]
    for path in tmp_path.iterdir():
        assert path.read_bytes()[:1] != b"\x80" and b"\x80\x04" not in path.read_bytes()[:64]  # how pickles begin
    told = json.loads((tmp_path / "curve.json").read_text())
    assert told["schedule"] == {
        "epochs": 7,
        "lr_patience": 2,
        "lr_factor": 0.5,
        "early_stopping_patience": 0,
        "seed": 3,
        "keep": "best",
    }
    assert told["curve"] == curve
    held = load_file(tmp_path / "epoch-7.safetensors")
    assert set(held) == {f"{kind}.{name}" for kind in ("now", "best") for name in learner.state()}
    for name, tensor in learner.state().items():  # the learner ends at its best
        assert (held[f"best.{name}"] == tensor.numpy()).all()


# --- early stopping and learning rates -----------------------------------------------------------------------------


def test_fit_restores_the_best_epoch():
    learner = Scripted([5.0, 3.0, 2.0, 4.0, 2.0, 9.0])
    curve = fit(learner, Schedule(epochs=6))
    assert [row["best"] for row in curve] == [True, True, True, False, False, False]  # a tie is no gain
    assert float(learner.weight) == 3


@pytest.mark.parametrize("broken_off", [0, 2, 4])
def test_fit_keeps_the_last_epoch_on_request(tmp_path, broken_off):
    scores, schedule = (
        [1.0, 3.0, 2.0, math.nan, 9.0],
        Schedule(epochs=5, lr_patience=1, early_stopping_patience=2, keep="last"),
    )
    if broken_off:
        fit(Scripted(scores), replace(schedule, epochs=broken_off), tmp_path)
    learner = Scripted(scores)
    curve = fit(learner, schedule, tmp_path)
    assert float(learner.weight) == 5 and len(curve) == 5  # no epoch is without gain, so nothing stops it or slows it
    assert all(row["best"] and row["lr_scale"] == 1.0 for row in curve)


def test_divergence_leaves_the_epoch_before_where_the_last_is_kept():
    good, learner = Line(), spoil(Line(), 4, 1)
    fit(good, Schedule(3, 2, 0.5, 0, 3, keep="last"))
    with pytest.raises(InputError, match="diverged in epoch 4"):
        fit(learner, replace(SCHEDULE, keep="last"))
    assert as_text(learner, []) == as_text(good, [])


def test_early_stopping_stops_after_patience_epochs(tmp_path):
    scores = [5.0, 3.0, 4.0, 4.0, 2.0, 4.0, 4.0, 4.0, 1.0]
    learner = Scripted(scores)
    curve = fit(learner, Schedule(epochs=9, early_stopping_patience=3), tmp_path)
    assert [row["score"] for row in curve] == scores[:8] and float(learner.weight) == 5
    again = Scripted(scores)
    assert len(fit(again, Schedule(epochs=9, early_stopping_patience=3), tmp_path)) == 8 and again.lr_scales == []
    assert len(fit(Scripted(scores), Schedule(epochs=9))) == 9  # 0: never


@pytest.mark.parametrize("resumed", [False, True])
def test_learning_rate_falls_after_lr_patience_epochs(tmp_path, resumed):
    """Gains at epochs 1, 2 and 9; the ten idle epochs after it end with 19, the next ten with 29."""
    scores = [5.0, 4.0, *[6.0] * 6, 3.0, *[6.0] * 25]
    learner, schedule = Scripted(scores), Schedule(epochs=34, lr_patience=10)
    if resumed:
        fit(learner, replace(schedule, epochs=23), tmp_path)
        first, learner = learner.lr_scales, Scripted(scores)
        fit(learner, schedule, tmp_path)
        learner.lr_scales = first + learner.lr_scales
    else:
        fit(learner, schedule)
    assert learner.lr_scales == pytest.approx([1.0] * 19 + [0.1] * 10 + [0.01] * 5, rel=1e-12)


def test_without_a_score_the_training_loss_is_watched(tmp_path):
    learner = Line(held=False)
    curve = fit(learner, SCHEDULE, tmp_path)
    assert all(math.isnan(row["score"]) and row["watched"] == row["loss"] for row in curve)
    assert json.loads((tmp_path / "curve.json").read_text())["curve"][0]["score"] is None
    again = Line(held=False)
    assert as_text(again, fit(again, SCHEDULE, tmp_path)) == as_text(learner, curve)


def test_each_epoch_is_reported():
    told = []
    assert fit(Line(), SCHEDULE, on_epoch=told.append) == told
    assert [row["epoch"] for row in told] == list(range(1, 8))


# --- divergence ----------------------------------------------------------------------------------------------------


def spoil(learner, epoch, step, value=math.nan):
    def moment(at_epoch, at_step):
        if (at_epoch, at_step) == (epoch, step):
            with torch.no_grad():
                learner.net.weight.fill_(value)

    learner.moment = moment
    return learner


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_raises_and_restores_the_best_epoch(tmp_path, value):
    good = Line()
    fit(good, Schedule(3, 2, 0.5, 0, 3))
    learner = spoil(Line(), 4, 1, value)
    with pytest.raises(
        InputError, match=r"^Training diverged in epoch 4: [^.]*the best epoch before it is kept\. Lower"
    ):
        fit(learner, SCHEDULE, tmp_path)
    assert as_text(learner, []) == as_text(good, [])
    # the folder holds the last sound epoch
    again = Line()
    fit(again, Schedule(3, 2, 0.5, 0, 3), tmp_path)
    assert again.epochs == 0 and as_text(again, []) == as_text(good, [])


class LastStep(Line):
    """The very last step of the third epoch breaks the weights: all of its losses were sound."""

    def epoch(self, rng, lr_scale):
        yield from super().epoch(rng, lr_scale)
        if self.epochs == 3:
            with torch.no_grad():
                self.net.bias.fill_(math.nan)


@pytest.mark.parametrize("held", [True, False])
def test_weights_that_diverge_in_the_last_step_are_not_a_best_epoch(tmp_path, held):
    good = Line(held=held)
    fit(good, Schedule(2, 2, 0.5, 0, 3))
    learner = LastStep(held=held)
    with pytest.raises(InputError, match="diverged in epoch 3"):
        fit(learner, SCHEDULE, tmp_path)
    assert as_text(learner, []) == as_text(good, [])
    assert [path.name for path in tmp_path.glob("epoch-*")] == ["epoch-2.safetensors"]


def test_an_infinite_score_is_divergence():
    learner = Scripted([3.0, math.inf, 1.0])
    with pytest.raises(InputError, match="diverged in epoch 2"):
        fit(learner, Schedule(epochs=3))
    assert float(learner.weight) == 1


def test_divergence_in_the_first_epoch_says_that_nothing_is_kept(tmp_path):
    with pytest.raises(InputError, match="diverged in epoch 1: the loss is not finite; no epoch before it"):
        fit(spoil(Line(), 1, 0), SCHEDULE, tmp_path)
    assert not list(tmp_path.iterdir())


# --- checkpoints that cannot be gone on from ------------------------------------------------------------------------


def refused(folder, learner=None, schedule=SCHEDULE):
    with pytest.raises(ModelError) as told:
        fit(learner or Line(), schedule, folder)
    sentence = str(told.value)
    assert "\n" not in sentence and sentence.endswith(".") and str(folder) in sentence and "again" in sentence
    return sentence


@pytest.fixture
def stopped(tmp_path):
    fit(Line(), Schedule(3, 2, 0.5, 0, 3), tmp_path)
    return tmp_path


def redone(folder, unbroken):
    said = []
    with pieces.caching(folder.parent, said.append):
        goes_on(folder, unbroken)
    assert said == [f"{folder} is damaged; its network is trained again from the start"]
    assert [path.name for path in folder.glob("*.safetensors")] == ["epoch-7.safetensors"]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_truncated_tensors_are_made_again(stopped, unbroken, part):
    path = stopped / "epoch-3.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    redone(stopped, unbroken)


def test_missing_tensors_are_made_again(stopped, unbroken):
    (stopped / "epoch-3.safetensors").unlink()
    redone(stopped, unbroken)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "{}", '{"curve": []}', '{"curve": 1, "schedule": {}}', '{"curve": [], "schedule": 5}',
     '{"curve": [1], "schedule": {}}', '{"curve": [{}], "schedule": {}}'],
)  # fmt: skip
def test_an_invalid_curve_is_made_again(stopped, unbroken, text):
    (stopped / "curve.json").write_text(text)
    redone(stopped, unbroken)


def test_a_truncated_curve_is_made_again(stopped, unbroken):
    path = stopped / "curve.json"
    path.write_text(path.read_text()[:-40])
    redone(stopped, unbroken)


@pytest.mark.parametrize("other", [{"seed": 4}, {"lr_patience": 3}, {"lr_factor": 0.1}, {"keep": "last"}])
def test_a_checkpoint_of_other_settings_is_refused(stopped, other):
    assert "other settings" in refused(
        stopped, schedule=Schedule(**{"epochs": 7, "lr_patience": 2, "lr_factor": 0.5, "seed": 3, **other})
    )


def test_a_checkpoint_of_another_network_is_refused(stopped):
    assert "another network" in refused(stopped, Line(inputs=5))
