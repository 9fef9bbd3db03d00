"""LSTM-PB against a plain loop and finite differences; what learning, recognition and generation promise; and what
the published program's own reading cannot do."""

import math

import pytest
import torch

from duchenne.lstm_pb.network import LSTMPB, READINGS, LSTMPBConfig, first_step, prediction_error, recognise
from plain_grid import run_pb

INPUTS, PB, CONTEXT, HIDDEN, LAYERS = 4, 3, 5, 6, 2
EACH = pytest.mark.parametrize("reading", READINGS)
#: Reading paper with its switches: the layer from the grid, the context read from the output, and both.
SWITCHES = {
    "paper, grid layer": {"grid_layer": True},
    "paper, Jordan": {"context": "output"},
    "paper, grid layer, Jordan": {"grid_layer": True, "context": "output"},
}
EACH_SWITCH = pytest.mark.parametrize("reading", [*READINGS, *SWITCHES])
INPUT_DRIVEN = pytest.mark.parametrize("reading", ["paper", "rnnpb"])


def network(reading, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    config = LSTMPBConfig(reading.partition(",")[0], INPUTS, PB, CONTEXT, HIDDEN, LAYERS, **SWITCHES.get(reading, {}))
    net = LSTMPB(config).to(dtype)
    with torch.no_grad():  # biases that are no zeros
        for bias in (net.grid.time_bias, net.grid.depth_bias, net.out.bias):
            bias += torch.randn_like(bias) * 0.3
    return net


def clips(*lengths, seed=1, dtype=torch.float64):
    """Random walks (T, INPUTS) in [-1, 1], one for each length."""
    torch.manual_seed(seed)
    return [torch.tanh(torch.randn(n, INPUTS, dtype=torch.float64).cumsum(dim=0) / 3).to(dtype) for n in lengths]


def vectors(count, seed=2, dtype=torch.float64):
    torch.manual_seed(seed)
    return torch.randn(count, PB, dtype=torch.float64).to(dtype)


def batch(sequences):
    """(x (B, T, INPUTS) with noise behind a sequence's end, mask (B, T))."""
    longest = max(map(len, sequences))
    x, mask = torch.randn(len(sequences), longest, INPUTS).to(sequences[0]), torch.zeros(len(sequences), longest) > 1
    for i, each in enumerate(sequences):
        x[i, : len(each)], mask[i, : len(each)] = each, True
    return x, mask


def whole(x):
    return torch.ones(x.shape[:2], dtype=torch.bool)


# --- the network ---------------------------------------------------------------------------------------------------


@EACH_SWITCH
def test_predictions_equal_a_plain_loop(reading):
    net, x, pb = network(reading), torch.stack(clips(7, 7, 7)), vectors(3)
    expected = torch.stack([run_pb(net, each, p.expand(7, PB)) for each, p in zip(x, pb, strict=True)])
    torch.testing.assert_close(net(x, pb)[0], expected, rtol=1e-12, atol=1e-12)


@EACH
def test_pb_is_one_vector_for_the_whole_sequence(reading):
    """A network that could be given another PB vector on the way would answer otherwise from there on."""
    net, (x,), (first, second) = network(reading), clips(8), vectors(2)
    changed = run_pb(net, x, torch.cat([first.expand(4, PB), second.expand(4, PB)]))
    found = net(x[None], first[None])[0][0]
    torch.testing.assert_close(found[:4], changed[:4], rtol=1e-12, atol=1e-12)
    assert ((found[4:] - changed[4:]).abs().amax(dim=1) > 1e-3).all()


@EACH
@pytest.mark.parametrize("at_zero", [True, False])
def test_the_pb_gradient_equals_finite_differences(reading, at_zero):
    """At zero, where learning and recognition start, too: it must not vanish there, or PB could never leave it."""
    net, (x, mask) = network(reading), batch(clips(9, 5))
    pb = (vectors(2) * (0 if at_zero else 1)).requires_grad_(True)

    def errors(values):
        return prediction_error(net(x, values)[0], x, mask)

    (slope,) = torch.autograd.grad(errors(pb).sum(), pb)
    assert (slope.abs() > 1e-5).sum() >= PB
    step, expected = 1e-6, torch.zeros_like(slope)
    for i in range(2):
        for k in range(PB):
            nudge = torch.zeros_like(slope)
            nudge[i, k] = step
            with torch.no_grad():
                expected[i, k] = (errors(pb + nudge) - errors(pb - nudge)).sum() / (2 * step)
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-9)


@EACH_SWITCH
def test_every_weight_has_the_gradient_of_the_plain_loop(reading):
    net, (x,), pb = network(reading), clips(70), vectors(1)
    ours = torch.autograd.grad(prediction_error(net(x[None], pb)[0], x[None], whole(x[None])).sum(), net.parameters())
    error = ((run_pb(net, x, pb.expand(70, PB))[:-1] - x[1:]) ** 2).mean()
    names = [name for name, _ in net.named_parameters()]
    theirs = torch.autograd.grad(error, net.parameters(), materialize_grads=True)
    for name, a, b in zip(names, ours, theirs, strict=True):
        assert b.any(), name  # no weight is idle
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13, msg=lambda text, name=name: f"{name}: {text}")


@EACH_SWITCH
def test_batching_and_padding_change_nothing(reading):
    net, sequences, pb = network(reading, dtype=torch.float32), clips(12, 5, 9, 2, dtype=torch.float32), vectors(4)
    pb = pb.float().requires_grad_(True)
    x, mask = batch(sequences)
    predicted = net(x, pb)[0]
    errors = prediction_error(predicted, x, mask)
    together = torch.autograd.grad(errors.sum(), [pb, *net.parameters()])
    apart = [torch.zeros_like(g) for g in together]
    for i, each in enumerate(sequences):
        alone = net(each[None], pb[i : i + 1])[0]
        error = prediction_error(alone, each[None], whole(each[None]))
        torch.testing.assert_close(predicted[i, : len(each)], alone[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(errors[i], error[0], rtol=0, atol=1e-5)
        for total, part in zip(apart, torch.autograd.grad(error.sum(), [pb, *net.parameters()]), strict=True):
            total += part
    for a, b in zip(together, apart, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    found, _ = recognise(net, x, mask, steps=8)
    for i, each in enumerate(sequences):
        alone, _ = recognise(net, each[None], whole(each[None]), steps=8)
        torch.testing.assert_close(found[i], alone[0], rtol=0, atol=1e-5)


@EACH_SWITCH
def test_parts_of_a_sequence_equal_the_whole(reading):
    net, x, pb = network(reading), torch.stack(clips(11, 11)), vectors(2)
    expected, _ = net(x, pb)
    state, pieces = None, []
    for start, stop in ((0, 3), (3, 10), (10, 11)):
        out, state = net(x[:, start:stop], pb, state)
        pieces.append(out)
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected, rtol=1e-12, atol=1e-12)
    assert not any(s.requires_grad for s in state)


def test_the_prediction_error_by_hand():
    """Row t is compared with frame t + 1, over real frames alone; a sequence of one frame has no error."""
    x = torch.tensor([[[0.0, 0.0], [1.0, 3.0], [2.0, 0.0]], [[5.0, 5.0], [7.0, 7.0], [9.0, 9.0]], [[1.0, 1.0]] * 3])
    predicted = torch.zeros_like(x)
    mask = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    # clip 0: ((1 + 9) / 2 + (4 + 0) / 2) / 2; clip 1: 49 alone
    torch.testing.assert_close(prediction_error(predicted, x, mask), torch.tensor([3.5, 49.0, 0.0]))


def test_the_papers_sizes_make_ten_million_weights():
    """Four time LSTMs and one depth LSTM of 4·512 gates on 2·512 inputs and a bias, the context's way in and out, the
    ways from 80 inputs and from 64 PB nodes, and the way out."""
    lstm = 4 * 512 * 2 * 512 + 4 * 512
    expected = 5 * lstm + 2 * 64 * 512 + 512 + (80 * 512 + 512) + (64 * 512 + 512) + (512 * 80 + 80)
    assert expected == 10_677_840
    with torch.device("meta"):
        paper, rnnpb = LSTMPB(), LSTMPB(LSTMPBConfig("rnnpb"))
    assert sum(weight.numel() for weight in paper.parameters()) == expected
    assert sum(weight.numel() for weight in rnnpb.parameters()) == expected - 1024  # from_x's bias serves all


# --- recognition ---------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("rate", [0.05, 0.9])
def test_one_step_of_recognition_is_equations_1_and_2(reading, rate):
    """δp = the mean over frames of the error that comes back to the PB nodes of each, here copies of their own in a
    plain loop; p = 0 + rate · δp."""
    net, (x,) = network(reading), clips(9)
    nodes = torch.zeros(9, PB, dtype=torch.float64, requires_grad=True)
    squares = ((run_pb(net, x, nodes)[:-1] - x[1:]) ** 2).sum()
    (back,) = torch.autograd.grad(-squares, nodes)
    assert not back[8].any()  # nothing comes after the last frame's prediction: 8 frames have an error
    delta = back[:8].mean(dim=0)
    found, errors = recognise(net, x[None], whole(x[None]), steps=1, learning_rate=rate)
    assert errors[1] < errors[0]
    torch.testing.assert_close(found[0], rate * delta, rtol=1e-9, atol=1e-14)


@EACH
def test_recognition_never_raises_the_error_and_converges(reading):
    net, (x, mask) = network(reading), batch(clips(12, 7, 9))
    found, errors = recognise(net, x, mask, steps=150)
    assert (errors.diff(dim=0) <= 0).all()
    assert (errors[-1] < errors[0]).all()
    free = found.requires_grad_(True)
    again = prediction_error(net(x, free)[0], x, mask)
    torch.testing.assert_close(errors[-1], again, rtol=1e-10, atol=0)
    # no step of recognition that is left to take brings as much as a thousandth of what all of them brought
    assert ((errors[-20] - errors[-1]) < 1e-3 * (errors[0] - errors[-1])).all()


@INPUT_DRIVEN
def test_fixed_recognition_is_equations_1_and_2_repeated(reading):
    """Also where a step raises the error."""
    net, (x, mask) = network(reading), batch(clips(9, 6))
    pb = torch.zeros(2, PB, dtype=torch.float64)
    for _ in range(3):
        free = pb.clone().requires_grad_(True)
        error = prediction_error(net(x, free)[0], x, mask)
        pb = pb - 40.0 * INPUTS * torch.autograd.grad(error.sum(), free)[0]
    found, errors = recognise(net, x, mask, steps=3, learning_rate=40.0, adaptive=False)
    torch.testing.assert_close(found, pb, rtol=1e-10, atol=1e-12)
    assert reading == "rnnpb" or (errors.diff(dim=0) > 0).any()


def test_a_step_that_is_too_long_is_undone():
    net, (x, mask) = network("paper"), batch(clips(12, 7))
    found, errors = recognise(net, x, mask, steps=60, learning_rate=1e4, momentum=0.9)
    assert (errors.diff(dim=0) <= 0).all() and torch.isfinite(found).all()
    assert (errors[1] == errors[0]).any(), "the step was not too long"
    assert (errors[-1] < errors[0]).all()


@INPUT_DRIVEN
def test_recognition_changes_no_weight(reading):
    net, (x, mask) = network(reading), batch(clips(6, 4))
    net.out.requires_grad_(False)
    before = {name: (weight.clone(), weight.requires_grad) for name, weight in net.named_parameters()}
    recognise(net, x, mask, steps=3)
    for name, weight in net.named_parameters():
        assert torch.equal(weight, before[name][0]) and weight.requires_grad == before[name][1] and weight.grad is None


# --- learning, recognition and generation together -------------------------------------------------------------------

FRAMES, MOVEMENTS = 14, 4


def movements():
    """float32 (4, T, 4): four ways to go on from one and the same first frame, slow or fast, one way round or other."""
    t = torch.arange(FRAMES) / FRAMES * 2 * math.pi
    rows = [
        torch.stack(
            [0.5 * (f * t).cos(), 0.5 * s * (f * t).sin(), 0.3 * s * (2 * f * t).sin(), 0.4 * (2 * f * t).cos()]
        )
        for f, s in ((1, 1), (2, 1), (1, -1), (2, -1))
    ]
    return torch.stack(rows).transpose(1, 2)


@pytest.fixture(scope="module", params=["paper", pytest.param("rnnpb", marks=pytest.mark.slow)])
def learnt(request):
    """(network, PB vectors (4, 4)) that learnt the four movements together, from PB at zero."""
    torch.manual_seed(0)
    x = movements()
    net = LSTMPB(LSTMPBConfig(request.param, INPUTS, 4, 8, 16, LAYERS))
    pb, optimiser = torch.zeros(MOVEMENTS, 4), torch.optim.Adam(net.parameters())
    for step in range(600):
        for group in optimiser.param_groups:
            group["lr"] = 0.015 if step < 400 else 0.003
        free = pb.clone().requires_grad_(True)
        optimiser.zero_grad()
        prediction_error(net(x, free)[0], x, whole(x)).mean().backward()
        optimiser.step()
        pb -= 3.0 * free.grad * MOVEMENTS * INPUTS
    return net.eval(), pb


def test_recognition_recovers_the_pb_vectors_of_training_sequences(learnt):
    net, pb = learnt
    found, errors = recognise(net, movements(), whole(movements()), steps=60)
    assert (errors.diff(dim=0) <= 0).all()
    distance = torch.cdist(found, pb)
    assert distance.argmin(dim=1).tolist() == [0, 1, 2, 3], distance
    likeness = float(torch.corrcoef(torch.stack([found.flatten(), pb.flatten()]))[0, 1])
    assert likeness > 0.9, likeness


def test_generation_reproduces_the_movement_of_its_pb_vector(learnt):
    """Closed loop from the first frame, which all share: the PB vector alone says which movement it is to be."""
    net, pb = learnt
    x = movements()
    size = (x - x.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2)).sqrt()
    made = net.generate(pb, x[:, :1], FRAMES - 1)
    miss = (made[:, None] - x[None, :, 1:]).square().mean(dim=(2, 3)).sqrt() / size  # [pb, movement]
    assert miss.argmin(dim=1).tolist() == [0, 1, 2, 3], miss
    assert (miss.diagonal() < 0.35).all(), f"off by {miss.diagonal().tolist()} of the movements' own amplitudes"


@EACH
def test_generation_feeds_each_prediction_back(reading):
    """The same as running the whole sequence anew for every frame, without carrying a state."""
    net, x, pb = network(reading), torch.stack(clips(3, 3)), vectors(2)
    made = net.generate(pb, x, 5)
    grown = x
    for _ in range(5):
        grown = torch.cat([grown, net(grown, pb)[0][:, -1:]], dim=1)
    torch.testing.assert_close(made, grown[:, 3:].detach(), rtol=1e-12, atol=1e-12)
    assert net.generate(pb, x, 0).shape == (2, 0, INPUTS) and not made.requires_grad


# --- the published program -----------------------------------------------------------------------------------------


def test_published_code_reads_the_first_two_frames_and_nothing_else():
    net, (x,) = network("published-code"), clips(30)
    found = first_step(net, x[None])
    (other,) = clips(30, seed=9)
    assert found.abs().max() > 1e-4
    assert torch.equal(first_step(net, torch.cat([x[:2], other[2:]])[None]), found)
    for frame in (0, 1):
        changed = x.clone()
        changed[frame] += 0.1
        assert not torch.allclose(first_step(net, changed[None]), found, rtol=1e-3)
    # the same change to any later frame is not noticed; recognition as in the paper does notice
    late = x.clone()
    late[20] += 0.1
    paper = network("paper")
    assert torch.equal(first_step(net, late[None]), found)
    assert not torch.equal(*(recognise(paper, each[None], whole(each[None]), steps=1)[0] for each in (x, late)))


def test_published_code_steps_up_the_gradient_of_the_first_frames_error():
    net, (x,) = network("published-code"), clips(10)
    pb = torch.zeros(1, PB, dtype=torch.float64, requires_grad=True)
    squares = ((run_pb(net, x[:1], pb)[0] - x[1]) ** 2).mean()
    (slope,) = torch.autograd.grad(squares, pb)
    torch.testing.assert_close(first_step(net, x[None]), slope, rtol=1e-10, atol=1e-14)


def test_published_code_has_the_same_recurrence_for_every_video():
    """Take from each output what the landmarks and PB of that very frame add: what remains is the same trace for all
    videos, frame by frame; in `paper` it is not."""

    def traces(reading):
        net, x, pb = network(reading), torch.stack(clips(15, 15)), vectors(2)
        predicted, state = net(x, pb)
        beside = net.from_x(x).relu() + net.from_pb(pb).relu()[:, None]
        trace = torch.atanh(predicted) - beside @ net.out.weight.T - net.out.bias
        return trace.detach(), state

    (one, other), state = traces("published-code")
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert one.diff(dim=0).abs().amax() > 1e-3  # and yet it moves
    assert [s.shape[-1] for s in state] == [1, 1, 1]  # computed once for the batch
    (one, other), _ = traces("paper")
    assert (one - other)[1:].abs().amax(dim=1).min() > 1e-4
