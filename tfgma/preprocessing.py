"""U2-Net, OpenPose, RAFT and Horn and Schunck's flow in the place of a build's standard tools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np

from pipelines.config import BuildConfig
from pipelines.flow import FlowEstimator
from pipelines.keypoints import choose_person
from pipelines.part_association import decode_people
from pipelines.pose import Body
from pipelines.schema import FEATURE_JOINTS, JOINTS, Box
from pipelines.tools import Finder, Flow, Tools, standard_finder, standard_tools
from tfgma.models.horn_schunck import horn_schunck
from tfgma.models.openpose import openpose
from tfgma.models.raft import MIN_SIDE_PX, raft_large, raft_small
from tfgma.models.u2net import u2net
from tfgma.network_flow import NetworkFlow
from tfgma.weights.layout import load_tensors
from tfgma.weights.pretrained import read_tensors
from tfgma.xla import answers_on

RAFT = {"raft_large": raft_large, "raft_small": raft_small}
STRIDE = 8
"""OpenPose's maps, RAFT's features and Horn and Schunck's last level have one cell for so many pixels."""

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
GREY = 128


def make_tools(config: BuildConfig, threads: int = 1) -> Tools:
    """The finder and the flow that the settings choose; standard ones where they choose no network.

    Raises:
        RefusedError: weights that cannot be read, or of another network.
    """
    if not config.network_sections:
        return standard_tools(config, threads)
    bodies_by_network = {"pose", "segmentation"} & set(config.network_sections)
    finder: Finder = (
        NetworkBodyFinder(config, threads) if bodies_by_network else standard_finder(config, threads)
    )
    flow: Flow = (
        network_flow(config) if "flow" in config.network_sections else FlowEstimator(config.flow.method)
    )
    return Tools(finder, flow)


def flow_network(config: BuildConfig) -> keras.Model:
    """The network that `config.flow` chooses, for frames of at least `config.clip.size`, with its weights.

    Raises:
        RefusedError: weights that cannot be read, or of another network.
    """
    settings = config.flow
    least = MIN_SIDE_PX if settings.method in RAFT else 2 * STRIDE
    # Smaller frames, and sizes between, get a border.
    side = max(least, -(-config.clip.size // STRIDE) * STRIDE)
    shape = (side, side, 3)
    if settings.method == "horn_schunck":
        return horn_schunck(shape, shape)
    network = RAFT[settings.method](shape, shape, num_updates=settings.num_updates)
    load_tensors(network, read_tensors(Path(str(settings.weights))))
    return network


def network_flow(config: BuildConfig) -> NetworkFlow:
    """Flow by the network that `config.flow` chooses.

    Raises:
        RefusedError: weights that cannot be read, or of another network.
    """
    network = flow_network(config)

    def answer(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        answers = answers_on(network, {"frame0": first, "frame1": second})
        return keras.ops.convert_to_numpy(answers["flow"])

    return NetworkFlow(config.clip.size, network.inputs[0].shape[1], answer)


class NetworkBodyFinder:
    """Joints from OpenPose or MediaPipe, the mask from U2-Net or MediaPipe."""

    def __init__(self, config: BuildConfig, threads: int = 1) -> None:
        """Loads the networks that `config.pose` and `config.segmentation` choose.

        Raises:
            RefusedError: weights that cannot be read, or of another network.
        """
        pose, segmentation = config.pose, config.segmentation
        self._standard = (
            standard_finder(config, threads) if "mediapipe" in (pose.method, segmentation.method) else None
        )
        self._openpose = OpenPoseEstimator(config) if pose.method == "openpose" else None
        self._u2net = U2NetSegmenter(config) if segmentation.method == "u2net" else None

    def find(self, frame: np.ndarray, seconds: float) -> Body | None:
        """The body in `frame` (H, W, 3) uint8 RGB, or None."""
        body = self._standard.find(frame, seconds) if self._standard else None
        if self._standard and body is None:
            return None
        joints = self._openpose.joints(frame) if self._openpose else body.joints if body else None
        if joints is None:
            return None
        mask = self._u2net.mask(frame) if self._u2net else body.mask if body else None
        if mask is None:
            return None
        if body is None:
            return Body(mask, joints, presence=joints[:, 2].copy())
        return replace(body, mask=mask, joints=joints)

    def restart(self, box: Box | None = None) -> None:
        """Forgets the last video. `box`: where the next one's body is, if it is not the main one."""
        if self._standard:
            self._standard.restart(box)
        if self._openpose:
            self._openpose.restart()

    def close(self) -> None:
        """Frees MediaPipe's networks."""
        if self._standard:
            self._standard.close()


class U2NetSegmenter:
    """Masks by U2-Net on the whole frame, scaled to a square (Qin et al., 2020)."""

    def __init__(self, config: BuildConfig) -> None:
        """Loads `config.segmentation.weights`."""
        self._size = config.segmentation.size
        self._network = u2net((self._size, self._size, 3))
        load_tensors(self._network, read_tensors(Path(str(config.segmentation.weights))))

    def mask(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (H, W) bool."""
        square = cv2.resize(frame, (self._size, self._size), interpolation=cv2.INTER_AREA)
        bright = square.astype(np.float32) / max(1, int(square.max()))
        answer = answers_on(self._network, {"image": ((bright - IMAGENET_MEAN) / IMAGENET_STD)[None]})
        salience = keras.ops.convert_to_numpy(answer["d0"])[0, ..., 0]
        spread = float(salience.max() - salience.min())
        even = (salience - salience.min()) / max(spread, 1e-6)
        return cv2.resize(even, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 0.5


class OpenPoseEstimator:
    """Joints by OpenPose's COCO body network, followed from frame to frame."""

    def __init__(self, config: BuildConfig) -> None:
        """Reads `config.pose.weights`."""
        self._tensors = read_tensors(Path(str(config.pose.weights)))
        self._long_side = config.pose.long_side_px
        load_tensors(openpose((STRIDE, STRIDE, 3)), self._tensors)  # refuses before the first video
        self._network: keras.Model | None = None
        self.restart()

    def restart(self) -> None:
        """Forgets the last person."""
        self._previous: np.ndarray | None = None

    def joints(self, frame: np.ndarray) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB -> (33, 3) float32, pixels and score (0 for those it has not), or None."""
        scale = self._long_side / max(frame.shape[:2])
        scaled = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = scaled.shape[:2]
        down, right = -height % STRIDE, -width % STRIDE
        wide = cv2.copyMakeBorder(scaled, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(GREY,) * 3)
        if self._network is None or self._network.inputs[0].shape[1:] != wide.shape:
            self._network = openpose(wide.shape)
            load_tensors(self._network, self._tensors)
        # The published weights were trained on BGR.
        bgr = wide[..., ::-1].astype(np.float32) / 256 - 0.5
        answer = answers_on(self._network, {"image": bgr[None]})
        heatmap, paf = (keras.ops.convert_to_numpy(answer[name])[0] for name in ("heatmap", "paf"))
        people = decode_people(heatmap, paf)
        if not len(people):
            return None
        person = choose_person(list(people), self._previous)
        self._previous = person
        joints = np.zeros((len(JOINTS), 3), np.float32)
        for index, name in enumerate(FEATURE_JOINTS):
            if name in JOINTS:
                x, y, score = person[index]
                joints[JOINTS.index(name)] = x * STRIDE / scale, y * STRIDE / scale, min(1.0, score)
        return joints


def refuse_unusable_weights(config: BuildConfig) -> None:
    """Reads the networks' weights once, so that a wrong file is refused before hours of work.

    Raises:
        RefusedError: weights that cannot be read, or of another network.
    """
    readers = {"pose": OpenPoseEstimator, "segmentation": U2NetSegmenter, "flow": flow_network}
    for section in config.network_sections:
        readers[section](config)
