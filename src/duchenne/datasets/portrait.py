"""The portrait of the simulator: its landmarks and their displacements for each movement of the face.

Displacements ("ways") are in portrait pixels, x right, y down. Those of the 68 landmarks (iBUG order) are interpolated
to further anchors on lips, cheeks and chin, from which `simulate` warps the image.
"""

from __future__ import annotations

import numpy as np

from duchenne.preprocess import align
from duchenne.types import Array

#: The portrait's 68 landmarks (x y in its pixels, iBUG order): median over dlib fits on enlarged images.
LANDMARKS = np.fromstring(
    """
    179.4 104.0 179.6 115.7 180.6 127.1 181.7 138.5 184.7 150.0 191.0 160.1 199.7 168.4 209.1 175.7
    220.3 178.3 232.0 176.8 242.9 171.0 253.0 163.4 260.3 154.0 264.9 143.0 267.7 131.3 270.1 120.0
    271.7 108.1 186.2 94.0 192.0 88.3 200.4 87.0 208.9 88.8 216.6 92.4 235.9 93.6 243.9 90.7
    252.0 90.4 260.0 92.2 265.2 98.4 225.7 102.1 225.6 110.6 225.4 118.6 225.1 127.1 214.3 131.0
    219.2 132.4 224.2 134.3 229.6 133.0 234.3 131.7 195.0 101.0 200.4 97.8 207.0 98.4 212.4 103.8
    206.2 104.1 199.7 103.7 237.6 105.1 243.6 100.3 249.9 100.4 255.1 104.1 250.1 106.2 243.8 106.0
    200.4 139.0 209.0 139.0 217.7 139.4 223.2 140.8 229.4 139.9 237.4 140.1 245.6 140.7 237.4 150.8
    228.8 155.0 222.1 155.6 216.0 154.6 207.6 149.6 203.0 140.3 217.3 143.0 223.0 144.0 229.1 143.3
    242.6 141.7 229.0 149.7 222.6 150.4 216.6 149.4
    """,
    sep=" ",
).reshape(68, 2)
#: Edge of the open mouth in the portrait, read off the image: x, y of the upper lip, y of the lower lip.
MOUTH = np.fromstring(
    """
    206.6 140.4 143.2  210.2 141.3 145.9  213.8 141.9 147.7  218.1 142.7 148.8  222.4 143.6 149.1
    226.6 143.6 148.8  230.9 142.9 147.5  235.2 141.9 145.8  239.0 141.2 143.7
    """,
    sep=" ",
).reshape(9, 3)
#: Folds of the smile beside the mouth, x y from the nose downwards, and the creases at its corners.
FOLDS = tuple(
    np.array(line).reshape(-1, 2)
    for line in (
        [207.4, 124.5, 204.9, 127.4, 200.9, 130.6, 197.0, 134.1, 195.9, 138.0],
        [197.4, 135.2, 201.3, 138.0],
        [241.3, 127.4, 244.5, 130.9, 247.7, 134.5, 250.2, 137.7, 249.5, 142.0],
        [249.0, 136.5, 245.9, 138.9],
    )
)
CENTRE = np.array([225.0, 122.0])  # the middle of the frame, in portrait pixels
#: Ways of the landmarks from rest to the height of a smile, x y per unit by which the mouth widens: mean over 41
#: people's 256 smiles in PEDFE (Miolla et al. 2023), of frontal tracks (`preprocess.align`), the frames within 10 % of
#: the widest mouth against those of the narrowest before it; each person's ways by their widening, both sides
#: of the face averaged. Posed and genuine smiles differ in no point by three standard errors, so both use it.
SMILE = np.fromstring(
    """
    -0.134 0.081  -0.142 0.084  -0.182 0.083  -0.203 0.100  -0.180 0.112  -0.132 0.134  -0.096 0.170
    -0.055 0.201  0 0.213  0.055 0.201  0.096 0.170  0.132 0.134  0.180 0.112  0.203 0.100
    0.182 0.083  0.142 0.084  0.134 0.081  -0.095 0.129  -0.084 0.104  -0.066 0.069  -0.034 0.051
    -0.010 0.057  0.010 0.057  0.034 0.051  0.066 0.069  0.084 0.104  0.095 0.129  0 0.036
    0 0.041  0 0.047  0 0.054  -0.135 -0.110  -0.074 -0.079  0 -0.033  0.074 -0.079
    0.135 -0.110  -0.075 0.069  -0.048 0.136  -0.078 0.136  -0.049 0.049  -0.064 -0.008  -0.036 -0.014
    0.049 0.049  0.078 0.136  0.048 0.136  0.075 0.069  0.036 -0.014  0.064 -0.008  -0.500 -0.462
    -0.346 -0.398  -0.143 -0.306  0 -0.308  0.143 -0.306  0.346 -0.398  0.500 -0.462  0.372 -0.006
    0.158 0.181  0 0.205  -0.158 0.181  -0.372 -0.006  -0.505 -0.418  -0.143 -0.381  0 -0.358
    0.143 -0.381  0.505 -0.418  0.157 0.211  0 0.235  -0.157 0.211
    """,
    sep=" ",
).reshape(68, 2)
PULL_ANGLE = float(np.arctan2(-SMILE[54, 1], SMILE[54, 0]))  # of the lip corners, outwards and up
FULL_PULL = 0.165  # pull of the portrait's own smile over the neutral face made from it, lip widths
SHUT = 0.93  # share of the eye opening that a full blink takes
_EYES = LANDMARKS[42:48].mean(axis=0) - LANDMARKS[36:42].mean(axis=0)
IOD = float(np.hypot(*_EYES))  # interocular distance in portrait pixels
_UPPER, _LOWER = 0.58, 0.36  # shares of the open mouth by which the lips close
#: Anchors between two landmarks, and how far along: two on each cheek, three on the chin.
_BETWEEN = np.array(
    [(41, 48, 0.4), (41, 48, 0.75), (46, 54, 0.4), (46, 54, 0.75), (58, 7, 0.45), (57, 8, 0.45), (56, 9, 0.45)]
)
_RING = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_LIPS = 68 + np.arange(2 * len(MOUTH))  # anchors on the upper, then on the lower edge of the open mouth


def travel(pull: Array) -> Array:
    """Displacement of a lip corner along `PULL_ANGLE`, in lip widths, that raises D(t) by `pull`."""
    cos = 0.5 * np.cos(PULL_ANGLE)
    return np.asarray(np.sqrt(cos**2 + (0.5 + pull) ** 2 - 0.25) - cos)


def _spread(ways: Array) -> Array:
    """float64 (N, 2): ways of the 68 landmarks, then of edges of the mouth, cheeks and chin, and a still ring."""
    first, second, share = _BETWEEN[:, 0].astype(int), _BETWEEN[:, 1].astype(int), _BETWEEN[:, 2:]
    between = ways[first] + share * (ways[second] - ways[first])
    edges = [
        np.column_stack([np.interp(MOUTH[:, 0], LANDMARKS[lip, 0], ways[lip, i]) for i in (0, 1)])
        for lip in ([60, 61, 62, 63, 64], [60, 67, 66, 65, 64])
    ]
    return np.concatenate([ways, *edges, between, np.zeros((len(_RING), 2))])


def anchors() -> Array:
    """float64 (N, 2): where the anchors lie in the portrait."""
    at = _spread(LANDMARKS)
    at[_LIPS] = np.concatenate([MOUTH[:, [0, 1]], MOUTH[:, [0, 2]]])
    at[-len(_RING) :] = CENTRE + np.stack([66 * np.cos(_RING), 76 * np.sin(_RING)], axis=1)
    return at


def _turned(ways: Array) -> Array:
    """Ways on a face whose eyes are level, as ways on the portrait's slightly tilted one."""
    (x, y) = _EYES / IOD
    return np.asarray(ways @ np.array([[x, y], [-y, x]]))


def smile() -> Array:
    """float64 (N, 2): ways from the neutral face to the portrait's smile, the lips' own thickness kept."""
    out = float(travel(np.array(FULL_PULL))) * np.cos(PULL_ANGLE)
    width = np.hypot(*(LANDMARKS[54] - LANDMARKS[48]))
    return _spread(_turned(SMILE) * width * 2 * out / (1 + 2 * out))


def closing() -> Array:
    """float64 (N, 2): the inverse, for the image, where the lips must meet wherever they were open."""
    ways, n = -smile(), len(MOUTH)
    gap = MOUTH[:, 2] - MOUTH[:, 1]
    middle = 0.5 * (LANDMARKS[48] + LANDMARKS[54])
    reach = (MOUTH[:, 0] - middle[0]) / (0.5 * (LANDMARKS[54, 0] - LANDMARKS[48, 0]))  # -1 to 1 between corners
    corner = 0.5 * (ways[54] - ways[48])[0], 0.5 * (ways[54] + ways[48])[1]
    along = np.column_stack([corner[0] * reach, corner[1] * reach**2])
    ways[_LIPS[:n]] = along + np.column_stack([0 * gap, _UPPER * gap])
    ways[_LIPS[n:]] = along - np.column_stack([0 * gap, _LOWER * gap])
    return ways


def lids(upper: float, lower: float) -> Array:
    """float64 (N, 2): ways when the lids close by these shares of the eye opening."""
    p, ways = LANDMARKS, np.zeros((68, 2))
    for a, b in ((37, 41), (38, 40), (43, 47), (44, 46)):
        ways[a], ways[b] = upper * (p[b] - p[a]), lower * (p[a] - p[b])
    return _spread(ways)


def unrest() -> Array:
    """float64 (5, N, 2): ways of left and right brow up and of the jaw down, by one interocular distance, and of
    the face for one degree of yaw and of pitch, by the depth of `preprocess.align.template`."""
    ways = np.zeros((5, 68, 2))
    heights, inwards = np.array([1.3, 1.15, 1.0, 0.9, 0.9]), np.array([0.0, 0.0, 0.1, 0.3, 0.5])
    ways[0, 17:22] = IOD * np.column_stack([inwards, -heights])
    ways[1, 26:21:-1] = IOD * np.column_stack([-inwards, -heights])
    ways[2, 3:14, 1] = IOD * np.sin(np.linspace(0, np.pi, 13)[1:-1])
    ways[2, 3:14, 0] = 0.8 * IOD * np.sin(np.linspace(0, 2 * np.pi, 13)[1:-1]) * -1
    ways[2, [55, 56, 57, 58, 59, 65, 66, 67], 1] = 0.5 * IOD
    depth = align.template()[:, 2]
    ways[3, :, 0] = ways[4, :, 1] = np.radians(IOD * (depth - depth.mean()))
    return np.stack([_spread(_turned(way)) for way in ways])


def side(x: Array) -> Array:
    """-1 left of the mouth's middle in the image, 1 right of it, smooth between."""
    return np.asarray(np.tanh((x - LANDMARKS[[48, 54], 0].mean()) / 10.0))
