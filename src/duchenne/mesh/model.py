"""The model file: where it is, what it holds, and its networks as OpenCV runs them."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np

from duchenne import io
from duchenne.errors import ModelError
from duchenne.types import Array

VARIABLE = "DUCHENNE_FACE_MESH"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_MOST = 2**26  # bytes, unpacked: 17 times the shipped file
_GEOMETRY = "geometry_pipeline_metadata_landmarks.binarypb"
#: Network → its outputs that are read, and how many numbers each has.
_NETWORKS = {
    "face_detector.tflite": {"regressors": 896 * 16, "classificators": 896},
    "face_landmarks_detector.tflite": {"Identity": 478 * 3, "Identity_1": 1},
    "face_blendshapes.tflite": {"StatefulPartitionedCall:0": 52},
}


class Network:
    """A network of the file, on one thread if OpenCV is (`cv2.setNumThreads`). Not for several threads at once."""

    def __init__(self, data: bytes, outputs: dict[str, int], source: str) -> None:
        self._outputs, self._source = outputs, source
        try:
            self._net = cv2.dnn.readNetFromTFLite(np.frombuffer(data, np.uint8))
        except cv2.error as error:
            raise self._wrong(f"OpenCV {cv2.__version__} cannot read it") from error

    def __call__(self, blob: Array) -> Sequence[Array]:
        """Its outputs, float32, for an input float32."""
        try:
            self._net.setInput(blob)
            found: Sequence[Array] = self._net.forward(list(self._outputs))
        except cv2.error as error:
            raise self._wrong("it has other inputs or outputs") from error
        if [each.size for each in found] != list(self._outputs.values()):
            raise self._wrong(f"its outputs hold {[each.size for each in found]} numbers")
        return found

    def _wrong(self, why: str) -> ModelError:
        return ModelError(
            f"{self._source} is not a network of Google's face_landmarker.task ({why}); "
            f"unset {VARIABLE} to use the shipped file."
        )


@dataclass(frozen=True)
class Model:
    """What the file holds.

    detector, landmarks, coefficients   the networks
    canonical                           float64 (468, 3): a mean face in cm; x to the picture's right, y up, z to the
                                        camera
    rigid                               float64 (468,): how much each of its points counts for the head's pose
    edges                               int64 (E, 2): pairs of points that are joined when the face is drawn
    sha256                              of the file
    """

    detector: Network
    landmarks: Network
    coefficients: Network
    canonical: Array
    rigid: Array
    edges: Array
    sha256: str


def find_model() -> Path:
    """The file that environment variable DUCHENNE_FACE_MESH names, else the shipped one."""
    shipped = Path(str(files("duchenne"))) / "weights" / "face-mesh" / "face_landmarker.task"
    return Path(os.environ.get(VARIABLE) or shipped)


def load(path: Path | None = None) -> Model:
    """The model of a `face_landmarker.task`, of `find_model` by default; ModelError where it is missing or another."""
    file, chosen = path or find_model(), path is not None or bool(os.environ.get(VARIABLE))
    cure = f"name a face_landmarker.task in {VARIABLE}, or unset it" if chosen else "install duchenne again"
    try:
        members = io.read_members(file, (*_NETWORKS, _GEOMETRY), _MOST)
        digest = hashlib.sha256(io.read_bytes(file, _MOST)).hexdigest()
        canonical, rigid, edges = _geometry(members.pop(_GEOMETRY))
    except (OSError, ValueError, LookupError, StopIteration, struct.error) as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else error
        raise ModelError(f"The face mesh '{file}' cannot be read ({why}); {cure}.") from error
    if not chosen and digest != SHA256:
        raise ModelError(f"The face mesh '{file}' is damaged (sha256 {digest}, expected {SHA256}); {cure}.")
    networks = [Network(members[name], outputs, f"{name} in '{file}'") for name, outputs in _NETWORKS.items()]
    return Model(networks[0], networks[1], networks[2], canonical, rigid, edges, digest)


def _geometry(data: bytes) -> tuple[Array, Array, Array]:
    """(points (468, 3), weights (468,), edges (E, 2)) of the file's geometry, a protocol buffer of MediaPipe.

    Field 1 is the mesh, whose field 3 are x, y, z, u, v of every vertex, and field 4 the corners of its triangles; each
    field 2 is the number of a point (1) and its weight (2).
    """
    fields = list(_fields(data))
    mesh = next(part for number, _, part in fields if number == 1)
    numbers = b"".join(part for number, _, part in _fields(mesh) if number == 3)
    points = np.frombuffer(numbers, "<f4").reshape(-1, 5)[:, :3].astype(float)
    weights = np.zeros(len(points))
    for basis in (part for number, _, part in fields if number == 2):
        about = {number: (whole, part) for number, whole, part in _fields(basis)}
        weights[about[1][0]] = struct.unpack("<f", about[2][1])[0]
    if points.shape != (468, 3) or not np.isfinite(points).all() or not (weights > 0).any():
        raise ValueError(f"its geometry has {len(points)} points, expected 468")
    corners = np.array([whole for number, whole, _ in _fields(mesh) if number == 4]).reshape(-1, 3)
    if not len(corners) or corners.max() >= len(points):
        raise ValueError("its geometry joins points that it does not have")
    sides = np.concatenate([corners[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    return points, weights, np.unique(np.sort(sides, axis=1), axis=0)


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(number, value, bytes) of each field of a protocol buffer: a whole number's value, or the bytes of all others."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind, value, size = key & 7, 0, 0
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}[kind]
        yield key >> 3, value, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A whole number in groups of 7 bits, the least first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
