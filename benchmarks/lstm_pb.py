"""Speed of LSTM-PB in training and recognition, against a plain per-frame port of the same equations on the same
machine.

    OMP_PROC_BIND=true python benchmarks/lstm_pb.py [--threads 2] [--small] [-o FILE]

Sequences of 200 frames of 80 numbers, float32, the paper's sizes (hidden 512, 4 layers, 10.7 million weights); all
ratios are of times taken in the same run. The port is first checked to give the same loss and gradients. Writes
lstm_pb.json beside itself; `--small` tries everything in about a minute at meaningless sizes, and prints only.
Run it on an idle machine: beside another process two threads are many times slower than one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duchenne.datasets import simulate
from duchenne.features.sequences import SequenceReader
from duchenne.learn.loop import Schedule, fit
from duchenne.lstm_pb.learner import PBLearner
from duchenne.lstm_pb.network import LSTMPB, READINGS, LSTMPBConfig, prediction_error, recognise
from duchenne.lstm_pb.recipe import PBRecipe


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    hidden: int = 512
    layers: int = 4
    frames: int = 200
    batches: tuple[int, ...] = (1, 8, 32)
    repeats: int = 3
    gemm: tuple[int, ...] = (512, 1024, 2048, 4096)
    long: int = 10_000
    piece: int = 500
    lengths: tuple[int, ...] = (250, 500, 1000, 2000)
    path_clips: int = 64
    path_epochs: int = 20
    path_more: int = 16
    path_rates: tuple[tuple[float, ...], ...] = ((4e-3, 8e-3), (1e-2, 2e-2))


SMALL = Sizes(32, 2, 20, (1, 4), 2, (256, 512), 400, 100, (50, 100), 8, 2, 4)


def main() -> None:
    """Measure everything, one part after the other; each is printed as it ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs; writes no file")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--memory", nargs=3, metavar=("FRAMES", "PIECE", "SIZES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sizes = SMALL if args.small else Sizes()
    if args.memory:
        frames, piece, hidden = map(int, args.memory)
        print(json.dumps(long_clip(replace(sizes, hidden=hidden), frames, piece)))
        return
    result: dict[str, Any] = {"machine": machine(args.threads), "sizes": vars(sizes)}
    parts: dict[str, Callable[[], Any]] = {
        "same_mathematics": lambda: same_mathematics(sizes),
        "gemm": lambda: gemm(sizes),
        "training": lambda: training(sizes),
        "recognition": lambda: recognition(sizes),
        "memory": lambda: memory(sizes, args.threads, args.small),
        "optimisation_path": lambda: optimisation_path(sizes),
    }
    for name, part in parts.items():
        result[name] = part()
        print(f"{name}: {json.dumps(result[name])}", file=sys.stderr, flush=True)
    result["goals"] = goals(result, sizes)
    text = json.dumps(result, indent=1) + "\n"
    if not args.small:
        args.output.write_text(text)
    print(text)


def machine(threads: int) -> dict[str, Any]:
    """What it ran on, and how busy that was already."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "OMP_PROC_BIND": os.environ.get("OMP_PROC_BIND"),
        "load_before": round(os.getloadavg()[0], 2),
    }


# --- the naive port ------------------------------------------------------------------------------------------------


def split(net: LSTMPB) -> dict[str, Any]:
    """The network's weights as leaves of their own, as a port has them: one matrix for each input of an LSTM."""
    h, grid = net.config.hidden_size, net.grid

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().requires_grad_(True)

    def lstm(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return leaf(weight[:, :h]), leaf(weight[:, h:]), leaf(bias)

    return {
        "time": [lstm(weight, bias) for weight, bias in zip(grid.time_weight, grid.time_bias, strict=True)],
        "depth": lstm(grid.depth_weight, grid.depth_bias),
        "context": (
            leaf(grid.context_in), leaf(grid.context_out),
            None if net.config.reading == "rnnpb" else leaf(net.context_bias[:, 0]),
        ),
        "x": (leaf(net.from_x.weight), leaf(net.from_x.bias)),
        "pb": (leaf(net.from_pb.weight), None if net.from_pb.bias is None else leaf(net.from_pb.bias)),
        "out": (leaf(net.out.weight), leaf(net.out.bias)),
    }  # fmt: skip


def leaves(weights: dict[str, Any]) -> list[Tensor]:
    """All tensors of `split`."""
    flat = [part for name, value in weights.items() for part in (sum(value, ()) if name == "time" else value)]
    return [tensor for tensor in flat if tensor is not None]


def naive_lstm(weight: tuple[Tensor, ...], first: Tensor, second: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """(hidden, memory) of one LSTM step on two inputs."""
    linear = torch.nn.functional.linear
    i, f, o, g = (linear(first, weight[0], weight[2]) + linear(second, weight[1])).chunk(4, dim=-1)
    memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
    return o.sigmoid() * memory.tanh(), memory


def naive_error(config: LSTMPBConfig, weights: dict[str, Any], x: Tensor, pb: Tensor) -> Tensor:
    """Mean squared error of one sequence's (1, T, inputs) predictions, frame by frame, left to autograd."""
    linear = torch.nn.functional.linear
    hidden = [x.new_zeros(1, config.hidden_size) for _ in weights["time"]]
    memory = [each.clone() for each in hidden]
    context, total = x.new_zeros(1, config.context_size), x.new_zeros(())
    for t in range(x.shape[1] - 1):
        seen = linear(x[:, t], *weights["x"])
        if config.reading == "rnnpb":
            seen, fed = x.new_zeros(()), seen + linear(torch.sigmoid(config.steepness * pb), *weights["pb"])
        else:
            seen, fed = seen.relu() + linear(pb, *weights["pb"]).relu(), x.new_zeros(())
        depth = linear(context, weights["context"][0], weights["context"][2]) + fed
        depth_memory = torch.zeros_like(depth)
        for layer, weight in enumerate(weights["time"]):
            hidden[layer], memory[layer] = naive_lstm(weight, depth, hidden[layer], memory[layer])
            depth, depth_memory = naive_lstm(weights["depth"], hidden[layer], depth, depth_memory)
        depth = depth.relu() if config.reading == "published-code" else depth
        h = depth + seen
        context = linear(depth if config.reading == "published-code" else h, weights["context"][1])
        total = total + (torch.tanh(linear(h, *weights["out"])) - x[:, t + 1]).square().mean()
    return total / (x.shape[1] - 1)


# --- parts ---------------------------------------------------------------------------------------------------------


def made(sizes: Sizes, reading: str, batch: int, frames: int | None = None) -> tuple[LSTMPB, Tensor, Tensor, Tensor]:
    """(network, x (B, T, 80), mask, PB (B, 64)) from a fixed seed."""
    torch.manual_seed(0)
    net = LSTMPB(LSTMPBConfig(reading, hidden_size=sizes.hidden, num_layers=sizes.layers))
    x = torch.tanh(torch.randn(batch, frames or sizes.frames, net.config.inputs).cumsum(dim=1) / 10)
    return net, x, torch.ones(x.shape[:2], dtype=torch.bool), torch.randn(batch, net.config.pb_size) * 0.1


def same_mathematics(sizes: Sizes) -> dict[str, float]:
    """Greatest difference between the port's and our loss and gradients, against each gradient's own size; stops the
    benchmark if it exceeds rounding."""
    worst = {}
    for reading in READINGS:
        net, x, mask, pb = made(sizes, reading, 1, 20)
        ours_pb, port_pb = (pb.clone().requires_grad_(True) for _ in range(2))
        ours = prediction_error(net(x, ours_pb)[0], x, mask).sum()
        ours.backward()  # type: ignore[no-untyped-call]
        weights = split(net)
        port = naive_error(net.config, weights, x, port_pb)
        port.backward()  # type: ignore[no-untyped-call]
        pairs = [(ours_pb.grad, port_pb.grad), *gradients(net, weights)]
        off = [abs(ours.item() - port.item()) / port.item()]
        off += [float((a - b).abs().max() / b.abs().max()) for a, b in pairs]
        worst[reading] = max(off)
        if not worst[reading] < 1e-3:
            sys.exit(f"The port and the network disagree in {reading} by {worst[reading]:.2g}; nothing is timed.")
    return worst


def gradients(net: LSTMPB, weights: dict[str, Any]) -> list[tuple[Any, Any]]:
    """(ours, the port's) of all weights, after both went backward."""
    grid: Any = net.grid
    context_bias: Any = getattr(net, "context_bias", None)
    found = [(grid.context_in.grad, weights["context"][0].grad), (grid.context_out.grad, weights["context"][1].grad)]
    if context_bias is not None:
        found.append((context_bias.grad[:, 0], weights["context"][2].grad))
    for ours, port in ((net.from_x, weights["x"]), (net.from_pb, weights["pb"]), (net.out, weights["out"])):
        found += [(ours.weight.grad, port[0].grad)] + ([] if ours.bias is None else [(ours.bias.grad, port[1].grad)])
    lstms = [(grid.time_weight.grad[i], grid.time_bias.grad[i], port) for i, port in enumerate(weights["time"])]
    for weight, bias, port in (*lstms, (grid.depth_weight.grad, grid.depth_bias.grad, weights["depth"])):
        found += [(weight, torch.cat([port[0].grad, port[1].grad], dim=1)), (bias, port[2].grad)]
    return found


def flops(config: LSTMPBConfig, frames: int, learn: bool = True) -> float:
    """Multiplications and additions of one sequence: forward, and backward to the states and (`learn`) the weights.

    Each layer has two LSTMs of 4H gates on 2H inputs; beside them the context's two ways and the ways in and out.
    """
    h, c, n = config.hidden_size, config.context_size, config.inputs
    per_frame = 2 * (config.num_layers * 2 * 4 * h * 2 * h + 2 * c * h + 2 * n * h)
    return (3.0 if learn else 2.0) * frames * per_frame


def gemm(sizes: Sizes) -> dict[str, float]:
    """This machine's own GFLOP/s in one float32 product, the best of several square sizes; and in the very products
    that a frame is made of, one after the other, by batch."""
    found = {}
    for n in sizes.gemm:
        a, b, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
        found[f"{n}"] = 2 * n**3 / least(partial(torch.mm, a, b, out=out), 5) / 1e9
    best = max(found.values())
    h = sizes.hidden
    for batch in sizes.batches:
        weights, state = [torch.randn(4 * h, 2 * h) for _ in range(5)], torch.randn(2 * h, batch)
        out, bias = torch.empty(4 * h, batch), torch.randn(4 * h, 1)

        def chain(weights: Any = weights, state: Any = state, out: Any = out, bias: Any = bias) -> None:
            for k in range(100):
                torch.addmm(bias, weights[k % 5], state, out=out)

        found[f"gates_batch_{batch}"] = 100 * 2 * 8 * h * h * batch / least(chain, 3) / 1e9
    return {"peak": best, **found}


def least(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of the quickest of `repeats` calls, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def learning_step(net: LSTMPB, x: Tensor, mask: Tensor, pb: Tensor) -> None:
    """Forward and backward to all weights and PB vectors; no optimiser, as none is timed for the port."""
    free = pb.clone().requires_grad_(True)
    net.zero_grad()
    prediction_error(net(x, free)[0], x, mask).mean().backward()  # type: ignore[no-untyped-call]


def training(sizes: Sizes) -> dict[str, Any]:
    """Seconds per sequence, sequences per second against the port at batch 1, and GFLOP/s."""
    found: dict[str, Any] = {}
    for reading in READINGS:
        net, x, _, pb = made(sizes, reading, 1)
        weights, free = split(net), pb.clone().requires_grad_(True)

        def port(net: Any = net, weights: Any = weights, x: Any = x, free: Any = free) -> None:
            for leaf in (*leaves(weights), free):
                leaf.grad = None
            naive_error(net.config, weights, x, free).backward()  # type: ignore[no-untyped-call]

        naive = least(port, max(1, sizes.repeats - 1))
        found[reading] = {"naive_batch_1": {"seconds": naive}}
        for batch in sizes.batches:
            net, x, mask, pb = made(sizes, reading, batch)
            spent = least(partial(learning_step, net, x, mask, pb), sizes.repeats) / batch
            row = {"seconds": spent, "times_naive": naive / spent}
            if reading != "published-code":  # there the recurrence is computed once for all
                row["gflops"] = flops(net.config, sizes.frames) / spent / 1e9
            found[reading][f"batch_{batch}"] = row
    return found


def recognition(sizes: Sizes) -> dict[str, Any]:
    """Seconds per iteration of recognising one clip, ours against the port's gradient at PB with fixed weights."""
    found = {}
    for reading in ("paper", "rnnpb"):
        net, x, mask, pb = made(sizes, reading, 1)
        weights = split(net)
        for leaf in leaves(weights):
            leaf.requires_grad_(False)
        free = pb.clone().requires_grad_(True)

        def port(net: Any = net, weights: Any = weights, x: Any = x, free: Any = free) -> None:
            torch.autograd.grad(naive_error(net.config, weights, x, free), free)

        naive, steps = least(port, sizes.repeats), 3
        # a recognition of n steps looks at the clip n + 1 times
        ours = least(partial(recognise, net, x, mask, steps=steps), sizes.repeats) / (steps + 1)
        found[reading] = {"naive_seconds": naive, "seconds": ours, "share_of_naive": ours / naive}
    return found


# --- memory --------------------------------------------------------------------------------------------------------


def memory(sizes: Sizes, threads: int, small: bool) -> dict[str, Any]:
    """Peak memory of training on one clip at once, by frames, and on a long clip in pieces."""

    def run(frames: int, piece: int) -> dict[str, float]:
        words = [sys.executable, __file__, "--threads", str(threads), *(["--small"] if small else [])]
        words += ["--memory", str(frames), str(piece), str(sizes.hidden)]
        return dict(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout))

    whole = {frames: run(frames, frames) for frames in sizes.lengths}
    slope, base = np.polyfit(list(whole), [row["peak_mb"] for row in whole.values()], 1)
    return {
        "whole": whole,
        "mb_per_frame": float(slope),
        "mb_without_frames": float(base),
        "in_pieces": {"frames": sizes.long, "piece": sizes.piece, **run(sizes.long, sizes.piece)},
    }


def long_clip(sizes: Sizes, frames: int, piece: int) -> dict[str, float]:
    """One training step on one clip, in pieces that pass on their state and sum their gradients; peak MB of this
    process."""
    net, x, _, pb = made(sizes, "paper", 1, frames)
    start, state, total = peak_mb(), None, 0.0
    free = pb.requires_grad_(True)
    began = time.perf_counter()
    for at in range(0, frames - 1, piece):
        end = min(at + piece, frames - 1)
        predicted, state = net(x[:, at:end], free, state)
        error = (predicted - x[:, at + 1 : end + 1]).square().mean(dim=2).sum() / (frames - 1)
        error.backward()
        total += float(error.detach())
    spent = time.perf_counter() - began
    assert free.grad is not None and math.isfinite(total) and bool(free.grad.any())
    return {"seconds": spent, "peak_mb": peak_mb(), "mb_before": start, "loss": total}


def peak_mb() -> float:
    """Peak memory of this process in MB."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage includes the process that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1e3
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1e6 if sys.platform == "darwin" else 1e3)


# --- the optimisation path -----------------------------------------------------------------------------------------


def optimisation_path(sizes: Sizes) -> dict[str, Any]:
    """The training loss of simulated clips that a small network reaches, by batch and learning rate. Batches of 32 take
    larger steps, but a thirty-second as many in an epoch; they get as many more epochs as take about the same time.

    The best batch-1 run is compared with the best loss of batches of 32 after as many sequences, and after as many
    seconds; and the seconds and epochs until they reached its loss are reported (None if they did not).
    """
    kinds = (simulate.POSED, simulate.SPONTANEOUS)
    tracks = [simulate.track(kinds[i % 2], 25.0, i, jitter=0.3) for i in range(sizes.path_clips)]
    sequences = [each for each in SequenceReader(12.5).table(tracks) if each is not None]
    single = [path(sequences, 1, rate, sizes.path_epochs) for rate in sizes.path_rates[0]]
    many = [path(sequences, 32, rate, sizes.path_epochs * sizes.path_more) for rate in sizes.path_rates[1]]
    best = min(single, key=lambda run: run["curve"][-1][1])
    seconds, loss = best["curve"][-1]
    found: dict[str, Any] = {"loss_batch_1": loss, "seconds_batch_1": seconds, "epochs_batch_1": sizes.path_epochs}
    after = {
        "sequences": [run["curve"][sizes.path_epochs - 1][1] for run in many],
        "time": [min((row[1] for row in run["curve"] if row[0] <= seconds), default=math.inf) for run in many],
    }
    for what, losses in after.items():
        found[f"loss_batch_32_at_equal_{what}"] = min(losses)
        found[f"ratio_at_equal_{what}"] = min(losses) / loss
    there = [(t, k + 1, run["rate"]) for run in many for k, (t, so_far) in enumerate(run["curve"]) if so_far <= loss]
    names = ("seconds", "epochs", "rate")
    found["batch_32_reaches_it"] = dict(zip(names, min(there), strict=True)) if there else None
    tenth = [run | {"curve": run["curve"][:: -max(1, len(run["curve"]) // 10)][::-1]} for run in (*single, *many)]
    return {**found, "sequences_in_an_epoch": len(sequences), "runs": tenth}


def path(sequences: list[Any], batch: int, rate: float, epochs: int) -> dict[str, Any]:
    """One run: the curve holds, after each epoch, the seconds spent and the lowest mean loss of an epoch so far."""
    recipe = PBRecipe(
        "paper", hidden_size=32, num_layers=2, pb_size=16, context_size=16, batch_size=batch, learning_rate=rate
    )
    learner = PBLearner(recipe, sequences, np.arange(len(sequences)) % 2)
    curve: list[tuple[float, float]] = []
    start = time.perf_counter()

    def tick(row: dict[str, Any]) -> None:
        curve.append((time.perf_counter() - start, min([row["loss"], *(loss for _, loss in curve[-1:])])))

    fit(learner, Schedule(epochs, lr_patience=max(10, epochs // 4)), on_epoch=tick)
    return {"batch": batch, "rate": rate, "epochs": epochs, "curve": curve}


def goals(result: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    """Goals and results."""
    largest = result["training"]["paper"][f"batch_{sizes.batches[-1]}"]
    return {
        "training_times_naive": {"aim": "at least 30", "found": largest["times_naive"]},
        "share_of_gemm_peak": {"aim": "at least 0.6", "found": largest["gflops"] / result["gemm"]["peak"]},
        "recognition_of_naive": {"aim": "at most 0.25", "found": result["recognition"]["paper"]["share_of_naive"]},
        "long_clip_mb": {"aim": "less than 4000", "found": result["memory"]["in_pieces"]["peak_mb"]},
        "batched_loss_ratio": {"aim": "about 1", "found": result["optimisation_path"]["ratio_at_equal_time"]},
    }


if __name__ == "__main__":
    main()
