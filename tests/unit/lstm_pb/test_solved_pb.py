"""A network whose PB is solved for, against a plain loop, ridge regression, finite differences and scikit-learn."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from duchenne.lstm_pb.solved_network import SolvedPB, SolvedPBConfig
from plain_grid import run_grid

CONFIG = SolvedPBConfig(
    inputs=6, pb_size=3, hidden_size=7, num_layers=2, context_size=4, parts=4, ahead=(1, 3), dropout=0.4
)
TARGETS = CONFIG.parts * len(CONFIG.ahead)


def clips(*lengths, seed=1, inputs=CONFIG.inputs):
    """Random walks float64 (T, inputs), one for each length, that go farther in some coordinates than in others."""
    rng = np.random.default_rng(seed)
    return [0.1 * (rng.normal(size=(n, inputs)) * np.linspace(0.5, 2, inputs)).cumsum(axis=0) for n in lengths]


def network(seed=0, dtype=torch.float64, **changes):
    torch.manual_seed(seed)
    net = SolvedPB(replace(CONFIG, **changes))
    net.measure(clips(30, 40, inputs=net.config.inputs, seed=9))
    with torch.no_grad():
        net.log_ridge.fill_(-1.3)
    return net.to(dtype).eval()


def batch(sequences, dtype=torch.float64):
    """(x (B, T, inputs) with noise behind a sequence's end, mask (B, T))."""
    longest = max(map(len, sequences))
    x = torch.from_numpy(np.random.default_rng(5).normal(size=(len(sequences), longest, CONFIG.inputs)))
    mask = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for i, each in enumerate(sequences):
        x[i, : len(each)], mask[i, : len(each)] = torch.from_numpy(each), True
    return x.to(dtype), mask


@torch.no_grad()
def plain(net, x):
    """What is expected without PB and the gates, each float64 (T, N), of one clip (T, inputs), frame by frame."""
    hidden, rows = net.grid.hidden_size, []
    for t in range(len(x)):
        moved = np.concatenate([x[t] - x[0], x[t] - x[max(t - 1, 0)]]) * net.inputs_scale.numpy()
        rows.append((net.from_x.weight @ torch.from_numpy(moved) + net.from_x.bias).clamp(min=0))
    zero = torch.zeros(net.grid.num_layers, hidden, dtype=torch.float64)
    state = (zero, zero, torch.zeros(net.grid.context_size, dtype=torch.float64))
    found, _ = run_grid(net.grid, torch.stack(rows), None, len(x), True, state)
    return tuple((each.weight @ found.T + each.bias[:, None]).T.numpy() for each in (net.expect, net.gate))


def goes(net, x):
    """float64 (T, N): how far each part of the face goes from each frame, by two loops; a clip's end is no movement."""
    basis, out = net.basis.double().numpy(), np.zeros((len(x), TARGETS))
    for t in range(len(x)):
        for i, k in enumerate(CONFIG.ahead):
            then = x[min(t + k, len(x) - 1)]
            out[t, i * CONFIG.parts : (i + 1) * CONFIG.parts] = (then - x[t]) @ basis * float(net.targets_scale[i])
    return out


def ridge(net, x):
    """PB by least squares on the rows (frame, part) · (pb), with λ as `pb` rows more."""
    expected, gates = plain(net, x)
    a = (gates[:, :, None] * net.mix.detach().double().numpy()).reshape(-1, CONFIG.pb_size) / math.sqrt(len(x))
    b = (goes(net, x) - expected).ravel() / math.sqrt(len(x))
    a = np.vstack([a, math.exp(float(net.log_ridge.detach()) / 2) * np.eye(CONFIG.pb_size)])
    return np.linalg.lstsq(a, np.append(b, np.zeros(CONFIG.pb_size)), rcond=None)[0]


def squares(net, x, p):
    """What PB is the minimum of: mean over frames of |r − a − g ⊙ M p|², and λ|p|²."""
    expected, gates = plain(net, x)
    missed = goes(net, x) - expected - gates * (net.mix.detach().numpy() @ p)
    return (missed**2).sum(axis=1).mean() + math.exp(float(net.log_ridge.detach())) * (p**2).sum()


# --- recognition ----------------------------------------------------------------------------------------------------


def test_pb_and_errors_are_those_of_a_ridge_regression():
    net, sequences = network(), clips(12, 5, 9)
    found = net(*batch(sequences))
    for i, x in enumerate(sequences):
        p = ridge(net, x)
        assert np.abs(p).max() > 0.05
        np.testing.assert_allclose(found.pb[i].detach(), p, rtol=1e-8, atol=1e-12)
        expected, gates = plain(net, x)
        missed = goes(net, x) - expected - gates * (net.mix.detach().numpy() @ p)
        np.testing.assert_allclose(found.error[i].detach(), (missed**2).mean(), rtol=1e-8)
        np.testing.assert_allclose(found.still[i].detach(), (goes(net, x) ** 2).mean(), rtol=1e-8)
        judged = p @ net.judge.weight[0].detach().numpy() + net.judge.bias.detach().numpy()
        np.testing.assert_allclose(net.logit(found.pb)[i].detach(), judged[0], rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_any_other_pb_predicts_worse_or_is_longer(seed):
    net, (x,) = network(seed), clips(11, seed=seed)
    pb = net(*batch([x])).pb[0].detach().numpy()
    least, rng = squares(net, x, pb), np.random.default_rng(seed)
    for size in (1e-3, 0.1, 1.0):
        for _ in range(20):
            step = rng.normal(size=CONFIG.pb_size)
            assert squares(net, x, pb + size * step / np.linalg.norm(step)) > least
    assert squares(net, x, np.zeros(CONFIG.pb_size)) > least


def test_batching_padding_and_later_frames_change_nothing():
    net, sequences = network(dtype=torch.float32), clips(12, 5, 9, 2)
    x, mask = batch(sequences, torch.float32)
    together, other = net(x, mask), x.clone()
    other[~mask] = 7.0
    shares, said = net.shares(x, mask), net.predict(x, mask)
    for each in (together, net(other, mask)):
        for i, s in enumerate(sequences):
            alone, whole = torch.from_numpy(s).float()[None], torch.ones(1, len(s), dtype=torch.bool)
            for a, b in zip(net(alone, whole), each, strict=True):
                torch.testing.assert_close(a[0], b[i], rtol=0, atol=1e-5)
            torch.testing.assert_close(net.shares(alone, whole)[0], shares[i, : len(s)], rtol=0, atol=1e-5)
            torch.testing.assert_close(net.predict(alone, whole)[0], said[i, : len(s)], rtol=0, atol=1e-5)
            assert not shares[i, len(s) :].any()
    assert (together.pb[0] - together.pb[1]).abs().max() > 1e-2
    longer = mask.clone()
    longer[1] = True  # with the noise behind its end it would be another clip
    assert (net(x, longer).pb[1] - together.pb[1]).abs().max() > 1e-2


def test_gradients_equal_finite_differences():
    """Of what is learnt: the labels' loss through PB, and the prediction error with that PB."""
    net, (x, mask) = network(), batch(clips(9, 6))

    def loss():
        found = net(x, mask)
        judged = torch.nn.functional.binary_cross_entropy_with_logits(
            net.logit(found.pb), torch.tensor([0.1, 0.9]).double()
        )
        return judged + 0.3 * (found.error / (found.still + 0.05)).mean()

    named = dict(net.named_parameters())
    slopes = dict(zip(named, torch.autograd.grad(loss(), named.values()), strict=True))
    for name, weight in named.items():
        assert slopes[name].abs().max() > 1e-7, f"{name} is idle"
        flat, slope = weight.detach().view(-1), slopes[name].reshape(-1)
        for i in slope.abs().topk(min(2, len(flat))).indices.tolist():
            before, ends = float(flat[i]), []
            for step in (1e-6, -1e-6):
                flat[i] = before + step
                ends.append(float(loss().detach()))
            flat[i] = before
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float(slope[i]), rel=1e-5, abs=1e-9), (name, i)


def test_shares_and_the_bias_sum_to_the_log_odds():
    net, (x, mask) = network(dtype=torch.float32), batch(clips(12, 5, 9), torch.float32)
    shares = net.shares(x, mask)
    assert shares.shape == x.shape and shares.abs().max() > 1e-3
    expected = net.logit(net(x, mask).pb).detach()
    torch.testing.assert_close(shares.sum(dim=(1, 2)) + net.judge.bias.detach(), expected, rtol=0, atol=1e-4)
    assert expected.std() > 1e-2


def test_a_share_follows_the_movement_at_its_frame_and_point():
    """PB is linear in how far each part goes: a movement in one coordinate, which nothing expects, is told there."""
    net = network(parts=CONFIG.inputs)
    with torch.no_grad():
        net.basis.copy_(torch.eye(CONFIG.inputs))
        net.targets_scale.fill_(1.0)
        for layer in (net.expect, net.gate):
            layer.weight.zero_()
            layer.bias.zero_()
        net.gate.bias.fill_(1.0)
    x = np.zeros((10, CONFIG.inputs))
    x[5:, 2] = 1.0  # from frame 4 to 5, so that one frame tells of it one frame ahead, and three tell three ahead
    shares = net.shares(*batch([x]))[0].numpy()
    assert (shares[2:5, 2] != 0).all()
    shares[2:5, 2] = 0
    assert not shares.any()


def test_dropout_is_used_in_training_only():
    net, (x, mask) = network(), batch(clips(9, 6))
    torch.testing.assert_close(net(x, mask).pb, net(x, mask).pb, rtol=0, atol=0)
    net.train()
    assert (net(x, mask).pb - net(x, mask).pb).abs().max() > 1e-3


# --- scales ---------------------------------------------------------------------------------------------------------


def test_measure_finds_directions_and_scales_of_movement():
    """Directions: the singular vectors of how far frames are from their clip's first (no mean is taken out)."""
    from sklearn.decomposition import TruncatedSVD

    sequences, net = clips(30, 50, 41, seed=3), SolvedPB(CONFIG)
    net.measure(sequences)
    basis = net.basis.double().numpy()
    np.testing.assert_allclose(basis.T @ basis, np.eye(CONFIG.parts), atol=1e-5)
    far = np.concatenate([s - s[0] for s in sequences])
    expected = TruncatedSVD(CONFIG.parts, algorithm="arpack", random_state=0).fit(far).components_
    np.testing.assert_allclose(np.abs(expected @ basis), np.eye(CONFIG.parts), atol=1e-4)
    gone = np.concatenate([goes(net, s) for s in sequences]).reshape(-1, len(CONFIG.ahead), CONFIG.parts)
    np.testing.assert_allclose(np.sqrt((gone**2).mean(axis=(0, 2))), 1, rtol=1e-4)
    scale = net.inputs_scale.double().numpy()
    fast = np.concatenate([np.diff(s, axis=0) for s in sequences])
    for values, mine in ((far, scale[: CONFIG.inputs]), (fast, scale[CONFIG.inputs :])):
        np.testing.assert_allclose(np.sqrt(((values * mine) ** 2).mean()), 0.25, rtol=1e-4)


def test_still_faces_give_finite_numbers():
    net = SolvedPB(CONFIG)
    net.measure([np.ones((5, CONFIG.inputs))] * 2)
    found = net.eval()(torch.ones(1, 5, CONFIG.inputs), torch.ones(1, 5, dtype=torch.bool))
    assert all(torch.isfinite(each).all() for each in (*found, *net.buffers()))


# --- prediction and generation --------------------------------------------------------------------------------------


def step(net, x, p):
    """The frame after the last of x (T, inputs), by PB vector p."""
    expected, gates = plain(net, x)
    ahead = (expected + gates * (net.mix.detach().numpy() @ p))[-1, : CONFIG.parts]
    return x[-1] + net.basis.numpy() @ (ahead / float(net.targets_scale[0]))


def test_predictions_equal_the_solved_pb_by_hand():
    net, sequences = network(), clips(10, 7)
    x, mask = batch(sequences)
    said, pb = net.predict(x, mask), net(x, mask).pb.detach()
    for i, each in enumerate(sequences):
        for t in (0, 3, len(each) - 1):
            np.testing.assert_allclose(said[i, t], step(net, each[: t + 1], pb[i].numpy()), rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(
                net.generate(pb[i : i + 1], x[i : i + 1, : t + 1], 1)[0, 0], said[i, t], rtol=1e-9, atol=1e-11
            )
    assert (said - x)[mask].abs().max() > 1e-2


@pytest.mark.parametrize("seeds", [1, 4])
def test_generation_feeds_each_prediction_back(seeds):
    """The same as reading the whole sequence anew for every frame, without carrying a state."""
    net, pb = network(), torch.from_numpy(np.random.default_rng(0).normal(size=(2, CONFIG.pb_size)))
    sequences = clips(seeds, seeds)
    made = net.generate(pb, torch.from_numpy(np.stack(sequences)), 6)
    for i, grown in enumerate(sequences):
        for _ in range(6):
            grown = np.vstack([grown, step(net, grown, pb[i].numpy())])
        np.testing.assert_allclose(made[i], grown[seeds:], rtol=1e-9, atol=1e-11)
    assert made.diff(dim=1).abs().max() > 1e-3 and not made.requires_grad
    assert net.generate(pb, torch.from_numpy(np.stack(sequences)), 0).shape == (2, 0, CONFIG.inputs)


FRAMES = 16


def movements():
    """float32 (2, T, 6): to one side and back, or to the other, from one and the same first frame."""
    t = torch.arange(FRAMES) / (FRAMES - 1) * math.pi
    way = torch.tensor([1.0, -0.5, 0.2, 0.0, 0.7, -0.3])
    return torch.stack([side * t.sin()[:, None] * way for side in (1.0, -1.0)])


def test_generation_reproduces_the_movement_of_its_pb_vector():
    """Learnt by prediction error alone; from the first frame, which both share, PB alone says where to."""
    torch.manual_seed(0)
    x, mask = movements(), torch.ones(2, FRAMES, dtype=torch.bool)
    net = SolvedPB(SolvedPBConfig(6, 2, 4, 16, 1, parts=2, ahead=(1,), dropout=0.0))
    net.measure(list(x.numpy()))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(250):
        optimiser.zero_grad()
        net(x, mask).error.mean().backward()
        optimiser.step()
    net.eval()
    pb = net(x, mask).pb.detach()
    made = net.generate(pb, x[:, :1], FRAMES - 1)
    size = (x - x.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2)).sqrt()
    miss = (made[:, None] - x[None, :, 1:]).square().mean(dim=(2, 3)).sqrt() / size  # [pb, movement]
    assert miss.argmin(dim=1).tolist() == [0, 1], miss
    assert (miss.diagonal() < 0.3).all(), f"off by {miss.diagonal().tolist()} of the movements' own amplitudes"
    middle = net.generate(pb.mean(dim=0, keepdim=True), x[:1, :1], 1)  # a step is linear in PB
    torch.testing.assert_close(middle[0], made[:, :1].mean(dim=0), rtol=0, atol=1e-5)
