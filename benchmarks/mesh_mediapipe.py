"""What MediaPipe's own Python says of the frames of a clip; run by `mesh.py` in an environment of its own.

    python mesh_mediapipe.py FRAMES.npy TIMES.npy face_landmarker.task RESULT.npz

FRAMES.npy: uint8 (T, H, W, 3) RGB; TIMES.npy: (T,) seconds. Needs mediapipe 0.10.21 (1.x reports usage over the
network) and no duchenne.

Three ways of reading them: `image` searches the face in every frame; `video` follows it, which smooths the points; and
`track` follows it without smoothing, by MediaPipe's own graphs for one region, each of which gives the region for the
next frame.
"""

from __future__ import annotations

import sys
import time
import zipfile
from typing import Any

import mediapipe as mp
import numpy as np
from mediapipe.framework import calculator_pb2
from mediapipe.framework.formats import rect_pb2
from mediapipe.python import packet_creator, packet_getter
from mediapipe.python._framework_bindings import task_runner
from mediapipe.tasks.cc.vision.face_detector.proto import face_detector_graph_options_pb2 as detector_pb2
from mediapipe.tasks.cc.vision.face_landmarker.proto import face_blendshapes_graph_options_pb2 as coefficients_pb2
from mediapipe.tasks.cc.vision.face_landmarker.proto import face_landmarks_detector_graph_options_pb2 as landmarks_pb2
from mediapipe.tasks.python import BaseOptions, vision

LEAST = 0.5  # presence below which the face is sought again


def node(name: str, inputs: list[str], outputs: list[str], options: Any = None) -> Any:
    """A node of a graph."""
    made = calculator_pb2.CalculatorGraphConfig.Node(calculator=name, input_stream=inputs, output_stream=outputs)
    if options is not None:
        made.options.Extensions[options.ext].CopyFrom(options)
    return made


class Graph:
    """Nodes that get an image and a region."""

    def __init__(self, nodes: list[Any], outputs: list[str]) -> None:
        inputs = ["IMAGE:image", "NORM_RECT:rect"]
        graph = calculator_pb2.CalculatorGraphConfig(node=nodes, input_stream=inputs, output_stream=outputs)
        self._runner = task_runner.TaskRunner.create(graph)

    def __call__(self, image: mp.Image, rect: Any) -> dict[str, Any]:
        packets = {"image": packet_creator.create_image(image), "rect": packet_creator.create_proto(rect)}
        return self._runner.process(packets)


def graphs(task: str) -> tuple[Graph, Graph]:
    """(detector, points and coefficients of one region)."""
    with zipfile.ZipFile(task) as archive:
        models = {name.removesuffix(".tflite"): archive.read(name) for name in archive.namelist()}
    found = detector_pb2.FaceDetectorGraphOptions(min_detection_confidence=0.5, num_faces=1)
    points = landmarks_pb2.FaceLandmarksDetectorGraphOptions(min_detection_confidence=0.0, smooth_landmarks=False)
    shapes = coefficients_pb2.FaceBlendshapesGraphOptions()
    for options, name in (
        (found, "face_detector"),
        (points, "face_landmarks_detector"),
        (shapes, "face_blendshapes"),
    ):
        options.base_options.model_asset.file_content = models[name]
    shapes.base_options.acceleration.xnnpack.SetInParent()
    vision_tasks = "mediapipe.tasks.vision."
    inputs = ["IMAGE:image", "NORM_RECT:rect"]
    boxes = ["EXPANDED_FACE_RECTS:rects", "DETECTIONS:boxes"]
    outputs = ["NORM_LANDMARKS:points", "FACE_RECT_NEXT_FRAME:next", "PRESENCE_SCORE:presence"]
    last = ["BLENDSHAPES:shapes"]
    detector = Graph([node(vision_tasks + "face_detector.FaceDetectorGraph", inputs, boxes, found)], boxes)
    reader = Graph(
        [
            node(vision_tasks + "face_landmarker.SingleFaceLandmarksDetectorGraph", inputs, outputs, points),
            node("ImagePropertiesCalculator", inputs[:1], ["SIZE:size"]),
            node(
                vision_tasks + "face_landmarker.FaceBlendshapesGraph",
                ["LANDMARKS:points", "IMAGE_SIZE:size"],
                last,
                shapes,
            ),
        ],
        [*outputs, *last],
    )
    return detector, reader


def xyz(landmarks: Any, size: tuple[int, int]) -> np.ndarray:
    """float64 (478, 3): points and depth in pixels."""
    width, height = size
    return np.array([[p.x * width, p.y * height, p.z * width] for p in landmarks])


def track(images: list[mp.Image], task: str) -> dict[str, np.ndarray]:
    """Points, coefficients, presence and region of every frame, NaN where no face is seen."""
    detector, reader = graphs(task)
    whole = rect_pb2.NormalizedRect(x_center=0.5, y_center=0.5, width=1, height=1)
    points, shapes, presence, regions, region = [], [], [], [], None
    for image in images:
        if region is None:
            packet = detector(image, whole)["rects"]
            rects = [] if packet.is_empty() else packet_getter.get_proto_list(packet)
            region = rects[0] if rects else None
        score = 0.0
        if region is not None:
            found = reader(image, region)
            score = packet_getter.get_float(found["presence"])
        presence.append(score)
        regions.append(pixels(region, (image.width, image.height)))
        if score < LEAST:
            points.append(np.full((478, 3), np.nan))
            shapes.append(np.full(52, np.nan))
            region = None
            continue
        points.append(xyz(packet_getter.get_proto(found["points"]).landmark, (image.width, image.height)))
        shapes.append([each.score for each in packet_getter.get_proto(found["shapes"]).classification])
        region = packet_getter.get_proto(found["next"])
    found = {"points": points, "coefficients": shapes, "presence": presence, "regions": regions}
    return {name: np.array(value) for name, value in found.items()}


def pixels(region: Any, size: tuple[int, int]) -> list[float]:
    """Centre x, y, width and height in pixels, angle; NaN for none."""
    if region is None:
        return [np.nan] * 5
    width, height = size
    sides = region.width * width, region.height * height
    return [region.x_center * width, region.y_center * height, *sides, region.rotation]


def landmarker(images: list[mp.Image], times: np.ndarray, task: str, mode: Any) -> dict[str, np.ndarray]:
    """The same by the public class, and the transformation matrices (T, 4, 4)."""
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=task),
        running_mode=mode,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    points, shapes, matrices = [], [], []
    with vision.FaceLandmarker.create_from_options(options) as model:
        start, spent = time.perf_counter(), time.process_time()
        for image, moment in zip(images, times, strict=True):
            still = mode == vision.RunningMode.IMAGE
            found = model.detect(image) if still else model.detect_for_video(image, round(moment * 1000))
            seen = bool(found.face_landmarks)
            size = (image.width, image.height)
            points.append(xyz(found.face_landmarks[0], size) if seen else np.full((478, 3), np.nan))
            shapes.append([c.score for c in found.face_blendshapes[0]] if seen else np.full(52, np.nan))
            matrices.append(found.facial_transformation_matrixes[0] if seen else np.full((4, 4), np.nan))
        seconds, spent = time.perf_counter() - start, time.process_time() - spent
    return {
        "points": np.array(points),
        "coefficients": np.array(shapes),
        "matrices": np.array(matrices),
        "seconds": np.array(seconds),
        "cpu": np.array(spent),
    }


def main() -> None:
    frames, times, task, result = np.load(sys.argv[1], mmap_mode="r"), np.load(sys.argv[2]), sys.argv[3], sys.argv[4]
    images = [mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(each)) for each in frames]
    found = {f"track_{name}": value for name, value in track(images, task).items()}
    for name, mode in (("image", vision.RunningMode.IMAGE), ("video", vision.RunningMode.VIDEO)):
        found |= {f"{name}_{key}": value for key, value in landmarker(images, times, task, mode).items()}
    np.savez(result, version=mp.__version__, **found)


if __name__ == "__main__":
    main()
