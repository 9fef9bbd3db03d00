"""Three ways to run the networks of the face mesh: OpenCV, LiteRT, and torch with the file's weights; one thread.

    python benchmarks/mesh_runtimes.py [--rounds 60]

Needs `pip install ai-edge-litert` besides duchenne, which itself does not use it. All take turns in one run, so that
other load slows them equally; the fastest of the rounds counts. Outputs are compared with LiteRT's. Writes
mesh_runtimes.json beside itself: milliseconds per input, their ratio to OpenCV's, and the largest difference.
"""

from __future__ import annotations

import argparse
import json
import struct
import time
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter
from skimage.data import astronaut

from duchenne.mesh.layout import FOR_COEFFICIENTS
from duchenne.mesh.model import find_model, load
from duchenne.types import Array

BATCH = 8
SIDES = {"face_detector.tflite": 128, "face_landmarks_detector.tflite": 256, "face_blendshapes.tflite": 0}
KINDS = {0: "<f4", 1: "<f2", 2: "<i4", 9: "i1"}  # of a tensor's numbers
ADD, JOIN, CONV, DEPTHWISE, STORED, SIGMOID, POOL, RESHAPE, RELU, PAD, PRELU = 0, 2, 3, 4, 6, 14, 17, 22, 19, 34, 54


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    found: dict[str, Any] = {"versions": {name: version(name) for name in ("ai-edge-litert", "torch")}}
    found["versions"]["opencv"] = cv2.__version__
    with zipfile.ZipFile(find_model()) as archive:
        for name, side in SIDES.items():
            found[name] = measured(archive.read(name), given(side), options.rounds)
            print(name, found[name], flush=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def given(side: int) -> Array:
    """float32 (1, side, side, 3): a face; for `side` 0 (1, 146, 2) points, here of the mean face."""
    if side:
        return cv2.resize(astronaut()[40:210, 140:310], (side, side)).astype(np.float32)[None] / 255
    points = np.concatenate([load().canonical, np.zeros((10, 3))])[FOR_COEFFICIENTS, :2] * (10, -10) + 200
    return points.astype(np.float32)[None]


def measured(data: bytes, x: Array, rounds: int) -> dict[str, Any]:
    """Of one network, by each way."""
    ways, batch = {"litert": litert(data, x), "opencv": opencv(data, x)}, {}
    if x.ndim == 4:
        network = Torch(data)
        ways["torch"] = network.on(x)
        batch[f"torch, {BATCH} at once"] = ways[f"torch, {BATCH} at once"] = network.on(np.repeat(x, BATCH, axis=0))
    outputs = {name: way() for name, way in ways.items()}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - start)
    each = {name: 1000 * seconds / (BATCH if name in batch else 1) for name, seconds in best.items()}
    found = {}
    for name, values in outputs.items():
        apart = [np.abs(a.ravel() - b.ravel()[: a.size]).max() for a, b in zip(outputs["litert"], values, strict=True)]
        found[name] = {
            "ms": round(each[name], 2),
            "over_opencv": round(each[name] / each["opencv"], 2),
            "largest_difference": float(f"{max(apart):.2g}"),
        }
    return found


def litert(data: bytes, x: Array) -> Callable[[], list[Array]]:
    """By Google's runtime, with XNNPACK."""
    model = Interpreter(model_content=data, num_threads=1)
    model.allocate_tensors()
    at, outputs = model.get_input_details()[0]["index"], [each["index"] for each in model.get_output_details()]

    def run() -> list[Array]:
        model.set_tensor(at, x)
        model.invoke()
        return [model.get_tensor(each) for each in outputs]

    return run


def opencv(data: bytes, x: Array) -> Callable[[], list[Array]]:
    """By OpenCV's DNN module."""
    net = cv2.dnn.readNetFromTFLite(np.frombuffer(data, np.uint8))
    names = [each["name"] for each in Interpreter(model_content=data).get_output_details()]
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x

    def run() -> list[Array]:
        net.setInput(x)
        return list(net.forward(names))

    return run


class Table:
    """A table of a flatbuffer: fields by number."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.fields = at - struct.unpack_from("<i", data, at)[0]

    def _field(self, number: int) -> int:
        size = struct.unpack_from("<H", self.data, self.fields)[0]
        place = 4 + 2 * number
        return struct.unpack_from("<H", self.data, self.fields + place)[0] if place < size else 0

    def number(self, field: int, kind: str = "b") -> int:
        there = self._field(field)
        return struct.unpack_from("<" + kind, self.data, self.at + there)[0] if there else 0

    def _pointed(self, at: int) -> int:
        return at + struct.unpack_from("<I", self.data, at)[0]

    def table(self, field: int) -> Table:
        return Table(self.data, self._pointed(self.at + self._field(field)))

    def array(self, field: int, kind: str) -> Array:
        if not (there := self._field(field)):
            return np.zeros(0, kind)
        at = self._pointed(self.at + there)
        return np.frombuffer(self.data, kind, struct.unpack_from("<I", self.data, at)[0], at + 4)

    def tables(self, field: int) -> list[Table]:
        if not (there := self._field(field)):
            return []
        at = self._pointed(self.at + there)
        many = struct.unpack_from("<I", self.data, at)[0]
        return [Table(self.data, self._pointed(at + 4 + 4 * each)) for each in range(many)]


class Torch:
    """The convolutional networks of the file, operation by operation, in the memory layout that torch prefers."""

    def __init__(self, data: bytes) -> None:
        model = Table(data, struct.unpack_from("<I", data)[0])
        codes = [max(each.number(0), each.number(3, "i")) for each in model.tables(1)]
        graph, buffers = model.tables(2)[0], model.tables(4)
        tensors = graph.tables(0)
        self.shapes = [each.array(0, "<i4").tolist() for each in tensors]
        self.known: dict[int, torch.Tensor] = {}
        for number, each in enumerate(tensors):
            stored = buffers[each.number(2, "I")].array(0, "u1")
            if len(stored):
                values = stored.view(KINDS[each.number(1)]).reshape(self.shapes[number])
                self.known[number] = torch.from_numpy(values.astype(np.float32 if values.dtype.kind == "f" else int))
        self.input, self.outputs = graph.array(1, "<i4").tolist()[0], graph.array(2, "<i4").tolist()
        self.steps = []
        for each in graph.tables(3):
            code, inputs, output = codes[each.number(0, "I")], each.array(1, "<i4").tolist(), each.array(2, "<i4")[0]
            if code == STORED:
                self.known[output] = self.known[inputs[0]]
            else:
                self.steps.append(
                    (code, inputs, int(output), each.table(4) if code in (CONV, DEPTHWISE, POOL, ADD) else None)
                )
        for code, inputs, _, _ in self.steps:
            if code in (CONV, DEPTHWISE):
                order = (0, 3, 1, 2) if code == CONV else (3, 0, 1, 2)
                weights = self.known[inputs[1]].permute(*order)
                self.known[inputs[1]] = weights.contiguous(memory_format=torch.channels_last)
            elif code == PRELU:
                self.known[inputs[1]] = self.known[inputs[1]].ravel()

    def on(self, x: Array) -> Callable[[], list[Array]]:
        """A run on this batch (N, H, W, C)."""
        ready = torch.from_numpy(x).permute(0, 3, 1, 2)  # which is channels_last

        @torch.inference_mode()
        def run() -> list[Array]:
            values = {**self.known, self.input: ready}
            for code, inputs, output, options in self.steps:
                values[output] = self._step(code, [values[each] for each in inputs], options, self.shapes[output])
            last = [values[each] for each in self.outputs]
            return [(each.permute(0, 2, 3, 1) if each.ndim == 4 else each).numpy() for each in last]

        return run

    def _step(self, code: int, given: list[torch.Tensor], options: Table | None, shape: list[int]) -> torch.Tensor:
        x = given[0]
        if code in (CONV, DEPTHWISE, POOL) and options is not None:
            stride = options.number(2, "i"), options.number(1, "i")
            kernel = (options.number(4, "i"), options.number(3, "i")) if code == POOL else given[1].shape[2:]
            if options.number(0) == 0:  # as much as the output's size needs, the odd pixel on the far side
                spare = [
                    max(0, (-(-n // s) - 1) * s + k - n) for n, s, k in zip(x.shape[2:], stride, kernel, strict=True)
                ]
                (top, bottom), (left, right) = [(each // 2, each - each // 2) for each in spare]
                x = F.pad(x, (left, right, top, bottom)) if any(spare) else x
            if code == POOL:
                return F.max_pool2d(x, kernel, stride)
            groups = 1 if code == CONV else x.shape[1]
            found = F.conv2d(x, given[1], given[2], stride, groups=groups)
            return F.relu(found) if options.number(3 if code == CONV else 4) == 1 else found
        if code == ADD:
            return F.relu(x + given[1]) if options is not None and options.number(0) == 1 else x + given[1]
        if code == RELU:
            return F.relu(x)
        if code == PRELU:
            return F.prelu(x, given[1])
        if code == PAD:
            (_, _), rows, columns, channels = given[1].tolist()
            return F.pad(x, (*columns, *rows, *channels))
        if code == SIGMOID:
            return torch.sigmoid(x)
        if code == JOIN:
            return torch.cat(given, dim=1)
        if code == RESHAPE:
            return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).reshape(len(x), *shape[1:])
        raise ValueError(f"Operation {code} is not known.")


if __name__ == "__main__":
    main()
