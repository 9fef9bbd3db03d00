"""The grid against a plain double loop, against torch's own LSTM, and against finite differences."""

import math

import pytest
import torch
from torch.func import functional_call

from duchenne.lstm_pb import grid as grid_lstm
from duchenne.lstm_pb.grid import GridLSTM
from plain_grid import run_grid

HIDDEN, LAYERS, CONTEXT, BATCH = 3, 2, 2, 2
#: More than two of the blocks of frames in which a test gathers the weights' gradients, and no whole number of them.
LONG = 131
FED = pytest.mark.parametrize("fed", ["below", "beside", "both", "nothing"])
THROUGH = pytest.mark.parametrize("through", [True, False])


def grid(seed=0, hidden=HIDDEN, layers=LAYERS):
    """A float64 grid whose biases are no zeros."""
    torch.manual_seed(seed)
    made = GridLSTM(hidden, layers, CONTEXT).double()
    with torch.no_grad():
        made.time_bias += torch.randn_like(made.time_bias) * 0.3
        made.depth_bias += torch.randn_like(made.depth_bias) * 0.3
    return made


def inputs(fed, steps, hidden=HIDDEN):
    """(below, beside), each (T, H, B) float64 with gradient, or None."""
    torch.manual_seed(1)
    both = torch.randn(2, steps, hidden, BATCH, dtype=torch.float64)
    return [
        both[i].clone().requires_grad_(True) if fed in (name, "both") else None
        for i, name in enumerate(("below", "beside"))
    ]


def some_state():
    torch.manual_seed(2)
    shapes = ((LAYERS, HIDDEN, BATCH), (LAYERS, HIDDEN, BATCH), (CONTEXT, BATCH))
    return tuple(torch.randn(*shape, dtype=torch.float64) for shape in shapes)


def plain(net, below, beside, steps, through, state):
    """The plain loop over each clip of a batch, laid side by side again as the grid lays them."""
    done = [
        run_grid(net, *(None if v is None else v[..., b] for v in (below, beside)), steps, through,
                 tuple(s[..., b] for s in state))
        for b in range(BATCH)
    ]  # fmt: skip
    after = tuple(torch.stack([each[1][k] for each in done], dim=-1) for k in range(3))
    return torch.stack([each[0] for each in done], dim=-1), after


def gradients(out, net, *extra):
    """Gradients of a fixed mixture of the output at all weights, and at what was fed in."""
    torch.manual_seed(3)
    leaves = [*net.parameters(), *(v for v in extra if v is not None)]
    return torch.autograd.grad((out * torch.randn(out.shape, dtype=out.dtype)).sum(), leaves, materialize_grads=True)


def assert_all_close(found, expected, tolerance=1e-11):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@FED
@THROUGH
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("steps", [1, 5])
def test_the_grid_equals_a_plain_double_loop(fed, through, started, steps):
    net, (below, beside) = grid(), inputs(fed, steps)
    state = some_state() if started else None
    out, after = net(below, beside, steps=steps, batch=BATCH, through=through, state=state)
    expected, expected_after = plain(net, below, beside, steps, through, state or net.start(BATCH))
    assert_all_close([out, *after], [expected, *expected_after])
    assert_all_close(gradients(out, net, below, beside), gradients(expected, net, below, beside))


@THROUGH
def test_gradients_over_many_blocks_of_frames_equal_the_plain_loop(through, monkeypatch):
    monkeypatch.setattr(grid_lstm, "_BLOCK", 50 * BATCH)  # frames whose weight gradients are one product
    monkeypatch.setattr(grid_lstm, "_SLOPES", 7 * 8 * LAYERS * BATCH * HIDDEN)  # 7 frames, no divisor of 50
    net, (below, beside) = grid(), inputs("both", LONG)
    out, _ = net(below, beside, steps=LONG, batch=BATCH, through=through, state=some_state())
    expected, _ = plain(net, below, beside, LONG, through, some_state())
    assert_all_close(gradients(out, net, below, beside), gradients(expected, net, below, beside), 1e-10)


@pytest.mark.parametrize(
    "fed", ["both", "nothing", *(pytest.param(fed, marks=pytest.mark.slow) for fed in ("below", "beside"))]
)
@THROUGH
def test_gradients_equal_finite_differences(fed, through):
    net, fed_in = grid(), [v for v in inputs(fed, 3) if v is not None]
    names = [name for name, _ in net.named_parameters()]

    def run(*values):
        weights, rest = dict(zip(names, values, strict=False)), list(values[len(names) :])
        below = rest.pop(0) if fed in ("below", "both") else None
        beside = rest.pop(0) if fed in ("beside", "both") else None
        how = {"steps": 3, "batch": BATCH, "through": through, "state": some_state()}
        return functional_call(net, weights, (below, beside), how)[0]

    assert torch.autograd.gradcheck(run, (*net.parameters(), *fed_in))


@pytest.mark.parametrize("batch", [1, 3, 20])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("steps", [2, 26])
def test_a_wide_grid_in_float32_equals_the_same_in_float64(batch, fixed, steps):
    """Width, float32 and length are what the quick kernels ask for; in float64 the products are ordinary ones."""
    torch.manual_seed(5)
    net, below = GridLSTM(512, 1, CONTEXT).requires_grad_(not fixed), torch.randn(steps, 512, batch)
    mix, found = torch.randn(steps, 512, batch, dtype=torch.float64), []
    for dtype in (torch.float32, torch.float64):
        fed = below.to(dtype).requires_grad_(True)
        out, state = net.to(dtype)(fed, None, steps=steps, batch=batch)
        leaves = [fed, *(() if fixed else net.parameters())]
        found.append([out.detach(), *state, *torch.autograd.grad((out * mix.to(dtype)).sum(), leaves)])
    for a, b in zip(*found, strict=True):
        assert float((a - b).abs().max()) < 1e-5 * float(b.abs().max())


def test_a_state_does_not_keep_its_frames_in_memory():
    _, state = grid()(None, None, steps=50, batch=1)
    assert all(s.untyped_storage().nbytes() == s.numel() * s.element_size() for s in state)


@pytest.mark.parametrize("count", [10, 2**14])
def test_both_ways_to_compute_tanh_agree(count):
    x = torch.linspace(-30, 30, count, dtype=torch.float64)
    out = torch.empty_like(x)
    grid_lstm._tanh(x, out)
    torch.testing.assert_close(out, x.tanh(), rtol=0, atol=1e-15)


@FED
@THROUGH
def test_parts_with_carried_state_equal_the_whole(fed, through):
    net, (below, beside) = grid(), inputs(fed, 9)
    whole, end = net(below, beside, steps=9, batch=BATCH, through=through, state=some_state())
    pieces, state = [], some_state()
    for start, stop in ((0, 4), (4, 5), (5, 9)):
        part = [None if v is None else v[start:stop] for v in (below, beside)]
        out, state = net(*part, steps=stop - start, batch=BATCH, through=through, state=state)
        pieces.append(out)
    assert_all_close([torch.cat(pieces), *state], [whole, *end])


def test_no_gradient_flows_into_the_state():
    net, (below, beside) = grid(), inputs("both", 8)
    early = torch.autograd.grad
    state = tuple(s.requires_grad_(True) for s in some_state())
    first, middle = net(below[:5], beside[:5], steps=5, batch=BATCH, state=state)
    second, _ = net(below[5:], beside[5:], steps=3, batch=BATCH, state=middle)
    assert not any(s.requires_grad for s in middle)
    assert early(first.sum(), state, allow_unused=True, retain_graph=True) == (None, None, None)
    # only the second piece's own frames hear of its loss
    (at,) = early(second.sum(), below, retain_graph=True)
    assert not at[:5].any() and at[5:].any()
    # truncated learning is what the plain loop learns when its state is cut off at the same frame
    cut = tuple(s.detach() for s in plain(net, below[:5], beside[:5], 5, True, state)[1])
    expected = plain(net, below[5:], beside[5:], 3, True, cut)[0]
    assert_all_close(gradients(second, net), gradients(expected, net))


def test_the_given_state_is_not_written_to():
    net, state = grid(), some_state()
    before = [s.clone() for s in state]
    net(*inputs("both", 5), steps=5, batch=BATCH, state=state)
    assert_all_close(state, before, 0)


def test_the_output_is_the_same_without_gradients_and_with_fixed_weights():
    net, (below, beside) = grid(), inputs("both", 70)
    out, after = net(below, beside, steps=70, batch=BATCH)
    expected = torch.autograd.grad(out.sum(), (below, beside))
    with torch.no_grad():
        bare, bare_after = net(below, beside, steps=70, batch=BATCH)
    assert_all_close([bare, *bare_after], [out.detach(), *after], 0)
    net.requires_grad_(False)
    out, _ = net(below, beside, steps=70, batch=BATCH)
    assert_all_close(torch.autograd.grad(out.sum(), (below, beside)), expected, 0)


def test_one_layer_without_context_is_torchs_lstm_under_one_lstm_cell():
    """With no way from the context in, the time LSTM reads V as `nn.LSTM` does, and the depth LSTM is one step of
    `nn.LSTMCell` on it with V as the state before and an empty memory. torch has the gates as i, f, g, o."""
    hidden, steps = 5, 70
    net, (below, _) = grid(4, hidden, 1), inputs("below", steps, hidden)
    with torch.no_grad():
        net.context_in.zero_()
    lstm, cell = torch.nn.LSTM(hidden, hidden).double(), torch.nn.LSTMCell(hidden, hidden).double()
    order = torch.cat([torch.arange(k * hidden, (k + 1) * hidden) for k in (0, 1, 3, 2)])
    pairs = [
        (lstm.weight_ih_l0, net.time_weight[0, order, :hidden]),
        (lstm.weight_hh_l0, net.time_weight[0, order, hidden:]),
        (lstm.bias_ih_l0, net.time_bias[0, order]),
        (lstm.bias_hh_l0, torch.zeros(4 * hidden)),
        (cell.weight_ih, net.depth_weight[order, :hidden]),
        (cell.weight_hh, net.depth_weight[order, hidden:]),
        (cell.bias_ih, net.depth_bias[order]),
        (cell.bias_hh, torch.zeros(4 * hidden)),
    ]
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.copy_(ours)
    fed = below.permute(0, 2, 1)  # (T, B, H)
    time_h, (last_h, last_m) = lstm(fed)
    expected = torch.stack([cell(h, (v, torch.zeros_like(v)))[0] for h, v in zip(time_h, fed, strict=True)])
    out, (h, m, _) = net(below, None, steps=steps, batch=BATCH)
    assert_all_close([out.permute(0, 2, 1), h[0].T, m[0].T], [expected, last_h[0], last_m[0]])
    for stop in (1, 2, 33):  # the time LSTM's own h after each of a few frames
        assert_all_close([net(below[:stop], None, steps=stop, batch=BATCH)[1][0][0].T], [time_h[stop - 1]])
    mix = torch.randn_like(expected)
    (expected * mix).sum().backward()
    theirs, below.grad = below.grad.clone(), None
    (out * mix.permute(0, 2, 1)).sum().backward()
    assert_all_close([below.grad], [theirs])
    grads = net.time_weight.grad[0, order], net.depth_weight.grad[order]
    assert_all_close(
        [grads[0][:, :hidden], grads[0][:, hidden:], net.time_bias.grad[0, order]],
        [lstm.weight_ih_l0.grad, lstm.weight_hh_l0.grad, lstm.bias_ih_l0.grad],
    )
    assert_all_close(
        [grads[1][:, :hidden], grads[1][:, hidden:], net.depth_bias.grad[order]],
        [cell.weight_ih.grad, cell.weight_hh.grad, cell.bias_ih.grad],
    )


def test_the_start_is_uniform_with_open_forget_gates_and_an_empty_state():
    net = GridLSTM(32, 3, 5)
    bias = torch.zeros(3, 4, 32)
    bias[:, 1] = 1
    assert torch.equal(net.time_bias.detach().view(3, 4, 32), bias)
    assert not net.depth_bias.any()
    for weight in (net.time_weight, net.depth_weight, net.context_in, net.context_out):
        bound, found = 1 / math.sqrt(weight.shape[-1]), weight.detach().abs()
        assert bound * 0.95 < found.max() <= bound
        # |u| of a uniform law has its mean at half its bound
        assert float(found.mean()) == pytest.approx(bound / 2, rel=0.1)
    assert [tuple(s.shape) for s in net.start(7)] == [(3, 32, 7), (3, 32, 7), (5, 7)]
    assert not any(s.any() for s in net.start(7))
