"""Whether a face is still the same person: the scene's cuts, and who is seen before and after them.

dlib's recognition network takes 0.1 s, so a face is only compared where it looks different, after a loss, or after a
cut. It names nobody, and nothing of it is stored.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property

import cv2
import numpy as np

from duchenne.errors import ModelError
from duchenne.faces import identity
from duchenne.faces.landmarks import Shape, cut, grow
from duchenne.types import Array

#: Distances of embeddings: below, one person (dlib's author; PEDFE's clips: 99.9 % of pairs within one, 8 % of people's
#: pairs); a little more is allowed where nothing but a loss suggests another person; below the last, one for sure.
ONE_PERSON, ONE_PERSON_LOST, SURELY = 0.6, 0.65, 0.45
#: Correlation of two aligned faces, from which they need no comparison: reached by 90 % of pairs within PEDFE's clips
#: and by 1 % of pairs of people.
_ALIKE = 0.93
_SIDE, _SEEN = 200, 40  # px of what is kept for the network, and of an aligned face
_AROUND = 0.4  # of the box on every side, for the network
_KEPT = 3  # sights that surely show the person, beside the first
#: A cut: the change of the face is so many times the usual and its correlation with the frame before below …
_CUTS = ((8.0, 0.75), (15.0, 0.87))
_FIRST = ((8.0, 0.6),)  # while the usual change is not known: fewer than so many frames moved
_KNOWN = 3
_USUAL = 15  # frames, of which the usual change is the median
_STILL = 1.0  # grey levels: a change of noise


class Sight:
    """A face in one frame uint8 (H, W) with points (68, 2), as far as it is needed to recognise it."""

    def __init__(self, grey: Array, points: Array) -> None:
        shape = Shape(points)
        box = grow(shape.box, _AROUND)
        scale = _SIDE / (box[2] - box[0])
        self._image = cut(grey, box, (_SIDE, _SIDE), cv2.BORDER_REPLICATE)
        self._points = ((points - box[:2]) * scale).astype(np.float32)
        half = _SIDE / 2
        turn = cv2.getRotationMatrix2D((half, half), float(np.degrees(shape.roll)), _SEEN / _SIDE * (1 + 2 * _AROUND))
        turn[:, 2] += _SEEN / 2 - half
        face = cv2.warpAffine(cv2.GaussianBlur(self._image, (0, 0), 3.0), turn, (_SEEN, _SEEN))
        self._face = _standard(face)

    def alike(self, other: Sight) -> bool:
        """Whether both look so similar that no comparison of persons is needed."""
        return float((self._face * other._face).mean()) >= _ALIKE

    @cached_property
    def embedding(self) -> Array | None:
        """float64 (128,); None without the network's file."""
        try:
            return identity.embed(np.repeat(self._image[..., None], 3, axis=2), self._points)
        except ModelError:
            return None


class Person:
    """What is kept of a face while its clip is read."""

    def __init__(self, sight: Sight) -> None:
        self._first = self._anchor = self._recent = sight
        self._sure: deque[Sight] = deque(maxlen=_KEPT)

    def distance(self, sight: Sight) -> float | None:
        """The least distance of embeddings to a sight; None without the network."""
        known = [self._first, *self._sure]
        if self._recent not in known:
            known.append(self._recent)
        if sight.embedding is None:
            return None
        return min(float(np.linalg.norm(sight.embedding - each.embedding)) for each in known)

    def looks_like(self, sight: Sight) -> bool:
        """Whether a sight clearly shows what the last comparison showed."""
        if not sight.alike(self._anchor):
            return False
        self._recent = sight
        return True

    def shows(self, sight: Sight) -> bool:
        """Whether a sight shows the person, by the network; without it, yes."""
        apart = self.distance(sight)
        if apart is not None and apart > ONE_PERSON:
            return False
        if apart is not None and apart < SURELY:
            self._sure.append(sight)
        self._anchor = sight
        return True


class Scene:
    """Recognises a cut by the pixels of one face, whose usual change it knows."""

    def __init__(self) -> None:
        self._changes: deque[float] = deque(maxlen=_USUAL)

    def is_cut(self, before: Array, now: Array) -> bool:
        """Whether the face's pixels uint8 (h, w) in two frames belong to two scenes."""
        if before.shape != now.shape or not now.size:
            return False
        change = float(cv2.absdiff(before, now).mean())
        largest = max(self._changes, default=0.0)
        moving = [each for each in self._changes if each > max(_STILL, largest) / 10]  # not repeated pictures
        known = len(moving) >= _KNOWN
        times = change / max(_STILL, float(np.median(moving)) if moving else 0.0)
        found = False
        if times > _CUTS[0][0]:
            alike = float((_standard(before) * _standard(now)).mean())
            found = any(times > limit and alike < least for limit, least in (_CUTS if known else _FIRST))
        if found:
            self._changes.clear()
        else:
            self._changes.append(change)
        return found


def _standard(image: Array) -> Array:
    x = image.astype(np.float32)
    return np.asarray((x - x.mean()) / (x.std() + 1e-6))
