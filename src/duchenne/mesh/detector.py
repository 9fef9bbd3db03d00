"""Faces of a frame: BlazeFace, its anchors, and boxes that overlap merged by their scores.

Bazarevsky et al. 2019, BlazeFace: sub-millisecond neural face detection on mobile GPUs (arXiv:1907.05047).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from duchenne.mesh.model import Network
from duchenne.mesh.region import Region
from duchenne.types import Array

_SIDE = 128  # pixels of the network's input
#: (cells along a side, anchors in each cell).
_GRIDS = ((16, 2), (8, 6))
_OVERLAP = 0.5  # intersection over union above which two boxes are one face
_MOST_LOGIT = 100.0  # beyond it the sigmoid is 0 or 1


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one frame, the surest first.

    boxes       float32 (N, 4)      x0 y0 x1 y1, pixels of the frame, from brows to chin
    keypoints   float32 (N, 6, 2)   eyes, tip of the nose, mouth, ears; the picture's left before its right
    scores      float32 (N,)        0 to 1
    """

    boxes: Array
    keypoints: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.scores)

    def best(self) -> Faces:
        """Without the faces whose box lies upon that of a surer one."""
        corners, left, kept = self.boxes.reshape(-1, 2, 2), np.argsort(-self.scores, kind="stable"), []
        while len(left):
            kept.append(int(left[0]))
            left = left[_overlap(corners[left], corners[left[0]]) <= _OVERLAP]
        return Faces(self.boxes[kept], self.keypoints[kept], self.scores[kept])

    def region(self, face: int) -> Region:
        """Where the points of a face are sought."""
        return Region.of_box(self.boxes[face], self.keypoints[face])


def anchors() -> Array:
    """float64 (896, 2): centres of the anchors x, y, in shares of the input's side."""
    found = []
    for cells, many in _GRIDS:
        centres = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centres, centres, indexing="ij")
        found.append(np.repeat(np.column_stack([x.ravel(), y.ravel()]), many, axis=0))
    return np.concatenate(found)


_ANCHORS = anchors()


def detect(network: Network, bgr: Array, region: Region, least: float) -> Faces:
    """The faces in a square region of uint8 (H, W, 3) blue, green, red, whose score is at least `least`."""
    crop = region.crop(bgr, _SIDE, cv2.BORDER_CONSTANT)
    raw, logits = network(cv2.dnn.blobFromImage(crop, 2 / 255, mean=(127.5,) * 3, swapRB=True))
    with np.errstate(over="ignore"):
        scores = 1 / (1 + np.exp(-np.clip(logits.ravel(), -_MOST_LOGIT, _MOST_LOGIT)))
    kept = np.flatnonzero(scores >= least)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    # a row: the box's centre and size, then six points, all relative to the anchor's centre
    rows = raw.reshape(-1, 8, 2)[kept].astype(float) / _SIDE
    rows[:, [0, *range(2, 8)]] += _ANCHORS[kept, None]
    half = rows[:, 1] / 2
    corners = np.stack([rows[:, 0] - half, rows[:, 0] + half], axis=1)
    return _merged(np.concatenate([corners, rows[:, 2:]], axis=1), scores[kept], region)


def _merged(shapes: Array, scores: Array, region: Region) -> Faces:
    """One face for each heap of boxes that overlap the surest of them: their mean, weighted by their scores.

    shapes: float64 (M, 8, 2): corners, then keypoints, by falling score
    """
    means, best = [], []
    left = np.flatnonzero((shapes[:, 1] > shapes[:, 0]).all(axis=1))
    while len(left):
        same = _overlap(shapes[left, :2], shapes[left[0], :2]) > _OVERLAP
        heap = left[same]
        means.append(np.average(shapes[heap], axis=0, weights=scores[heap]))
        best.append(scores[heap[0]])
        left = left[~same]
    points = region.to_frame(np.array(means).reshape(-1, 8, 2), 1.0).astype(np.float32)
    return Faces(points[:, :2].reshape(-1, 4), points[:, 2:], np.array(best, np.float32))


def search(network: Network, bgr: Array, least: float, every: bool = False) -> Faces:
    """As `detect` of the whole frame; where there is none, of the squares of `parts`, the largest first; with `every`,
    of all of these."""
    height, width = bgr.shape[:2]
    faces: list[Faces] = []
    for regions in ([Region.of_frame(width, height)], *parts(width, height)):
        faces += [detect(network, bgr, region, least) for region in regions]
        if any(map(len, faces)) and not every:
            break
    names = ("boxes", "keypoints", "scores")
    return Faces(*(np.concatenate([getattr(each, name) for each in faces]) for name in names)).best()


def parts(width: int, height: int) -> list[list[Region]]:
    """Squares that cover a frame and overlap by half: as high (or wide) as the frame, then half that."""
    found = []
    for side in (min(width, height), min(width, height) / 2):
        middles = [np.linspace(side / 2, whole - side / 2, _many(whole, side)).tolist() for whole in (width, height)]
        found.append([Region(x, y, side, side) for y in middles[1] for x in middles[0]])
    return found


def _many(whole: int, side: float) -> int:
    """How many squares of a side cover a length if each overlaps the next by half or more."""
    return 1 + int(np.ceil(2 * (whole - side) / side))


def _overlap(boxes: Array, box: Array) -> Array:
    """Intersection over union of boxes (M, 2, 2), each its two corners, with one."""
    inside = np.clip(np.minimum(boxes[:, 1], box[1]) - np.maximum(boxes[:, 0], box[0]), 0, None).prod(axis=1)
    areas = (boxes[:, 1] - boxes[:, 0]).prod(axis=1)
    return np.asarray(inside / (areas + (box[1] - box[0]).prod() - inside))
