"""The names and numbers of what the networks return, and the 68 points derived from the mesh."""

from __future__ import annotations

import numpy as np

from duchenne.types import Array

#: The 146 mesh points from which the coefficients are computed.
FOR_COEFFICIENTS = [
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251,
    263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318,
    321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386,
    387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, *range(468, 478),
]  # fmt: skip

#: The mesh point for each of the 68 points of dlib and iBUG: jaw, brows, nose, eyes, outer lips, inner lips. It is the
#: one of the same contour that lies nearest to dlib's over PEDFE's people, both sides treated alike
#: (experiments/mesh_layout.py); but brows run along their upper edge, and the eyes' corners are their corners.
POINTS_68 = (
    *(127, 234, 132, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 361, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 6, 195, 4, 59, 97, 2, 326, 289),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)


#: Mesh points of a part of the face.
LIPS = (0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181, 185, 191,
        267, 269, 270, 291, 308, 310, 311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415)  # fmt: skip
EYES = (7, 33, 133, 144, 145, 153, 154, 155, 157, 158, 159, 160, 161, 163, 173, 246,
        249, 263, 362, 373, 374, 380, 381, 382, 384, 385, 386, 387, 388, 390, 398, 466)  # fmt: skip
#: Outer corners of the eyes, on the picture's left and right.
EYE_CORNERS = (33, 263)
IRISES = tuple(range(468, 478))


_BROWS_UP = 0.2  # of the distance between the eyes' outer corners


def oval(points: Array) -> Array:
    """float32 (27, 2): the outline from jaw to above the brows, from mesh points (478, ≥ 2), in the same unit."""
    flat = as_68(points)
    up = flat[27] - flat[8]  # from the chin to the root of the nose
    up *= _BROWS_UP * np.linalg.norm(flat[45] - flat[36]) / max(float(np.linalg.norm(up)), 1e-6)
    return np.concatenate([flat[:17], flat[26:16:-1] + up])


def as_68(points: Array) -> Array:
    """float32 (..., 68, 2): the 68 points of dlib and iBUG from mesh points (..., 478, ≥ 2), in the same unit."""
    return np.asarray(points[..., POINTS_68, :2], np.float32)
