"""The face mesh: from the pixels of one frame to 478 points with depth, 52 expression coefficients and the head's pose.

Three networks of Google, run by OpenCV. Nothing here knows a video, a track or a person.
"""

from duchenne.mesh.detector import Faces
from duchenne.mesh.layout import POINTS_68, as_68
from duchenne.mesh.reader import FaceMesh, Reading
from duchenne.mesh.region import Region
from duchenne.types import COEFFICIENTS

__all__ = ["COEFFICIENTS", "POINTS_68", "FaceMesh", "Faces", "Reading", "Region", "as_68"]
