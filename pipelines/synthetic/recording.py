"""One generated recording, frame by frame, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.schema import JOINTS
from pipelines.synthetic.body import Body, sample_body
from pipelines.synthetic.camera import Camera, sample_camera, still
from pipelines.synthetic.fitting import Fit
from pipelines.synthetic.kinematics import Skeleton, pose_skeleton
from pipelines.synthetic.motion import GROUPS, sample_angles, sample_temper
from pipelines.synthetic.render import BodyRenderer
from pipelines.synthetic.scene import Scene, sample_scene
from pipelines.synthetic.settings import SyntheticSettings
from pipelines.synthetic.texture import Image
from pipelines.synthetic.visibility import visible_joints

_NOISE_MARGIN = 64


@dataclass(frozen=True)
class Recording:
    """A subject's recording, drawn by chance and not yet rendered.

    Attributes:
        subject: id, such as infant_001.
        label: class.
        age_weeks: age after term; None where the movement is a recorded one.
        family: background family.
        angles: (T, angles) float64, radians, in the order of motion.ANGLES.
        joints: (T, 33, 3) float32 in the order of schema.JOINTS: x, y in pixels of the frame (the centre of
            the first pixel is 0, 0), visibility 0 or 1 (1: in the frame and not behind another body part).
        roll_degrees: body's direction in the frame, clockwise from head up.
    """

    subject: str
    label: str
    age_weeks: int | None
    angles: NDArray[np.float64] = field(repr=False)
    skeleton: Skeleton = field(repr=False)
    joints: NDArray[np.float32] = field(repr=False)
    body: Body = field(repr=False)
    camera: Camera = field(repr=False)
    scene: Scene = field(repr=False)
    settings: SyntheticSettings = field(repr=False)
    noise_seed: np.random.SeedSequence = field(repr=False)

    @property
    def roll_degrees(self) -> float:
        """Body's direction in the frame, clockwise from head up."""
        return self.camera.roll_degrees

    @property
    def family(self) -> str:
        """Background family."""
        return self.scene.family

    def frames(self) -> Iterator[tuple[Image, Image]]:
        """Each frame (H, W, 3) uint8 BGR without sensor noise, and its body mask (H, W) uint8, 0 or 255."""
        size = (self.settings.width, self.settings.height)
        renderer = BodyRenderer(self.body, self.skeleton, self.camera, self.scene.light)
        for index in range(len(self.angles)):
            picture = self.scene.frame(index, self.camera, size)
            mask = np.zeros((size[1], size[0]), np.uint8)
            renderer.draw(index, picture, mask)
            yield picture, cv2.threshold(mask, 127, 255, cv2.THRESH_BINARY)[1]


def subject_name(index: int) -> str:
    """A generated subject's id."""
    return f"infant_{index + 1:03d}"


def sample_recording(index: int, settings: SyntheticSettings, *, seconds: float, seed: int) -> Recording:
    """Recording of one subject: subject `index` is the same whatever the number of subjects.

    Body, movement and place come from streams of their own: another background or light leaves the
    subject and its movement as they were.
    """
    root = np.random.SeedSequence(seed, spawn_key=(index,))
    body_seed, motion_seed, camera_seed, scene_seed, noise_seed = root.spawn(5)
    label = settings.classes[index % len(settings.classes)]
    num_frames = max(1, round(seconds * settings.fps))
    body_rng = np.random.default_rng(body_seed)
    body = sample_body(body_rng)
    age_weeks = int(body_rng.integers(10, 17))
    motion_rng = np.random.default_rng(motion_seed)
    temper = sample_temper(motion_rng)
    angles = sample_angles(motion_rng, label, temper, num_frames, settings.fps)
    if settings.odd_limb and settings.odd_movement:
        columns = list(GROUPS[settings.odd_limb])
        odd_rng = np.random.default_rng(motion_seed.spawn(1)[0])
        odd = sample_angles(odd_rng, settings.odd_movement, temper, num_frames, settings.fps)
        angles[:, columns] = odd[:, columns]
    skeleton = pose_skeleton(angles, body.size)
    camera = sample_camera(np.random.default_rng(camera_seed), settings, num_frames)
    scene = sample_scene(np.random.default_rng(scene_seed), settings, label, camera)
    joints = _project_joints(skeleton, body, camera, settings)
    return Recording(
        subject_name(index),
        label,
        age_weeks,
        angles,
        skeleton,
        joints,
        body,
        camera,
        scene,
        settings,
        noise_seed,
    )


def follow_recording(
    index: int, settings: SyntheticSettings, fit: Fit, *, label: str, seed: int
) -> Recording:
    """A recorded movement made by a generated body: that of subject `index`, in its place and light.

    The body lies in the frame as the recorded one did, but no larger than its whole movement has room.
    """
    root = np.random.SeedSequence(seed, spawn_key=(index,))
    body_seed, _, camera_seed, scene_seed, noise_seed = root.spawn(5)
    body = sample_body(np.random.default_rng(body_seed))
    skeleton = pose_skeleton(fit.angles, body.size, fit.side_roll)
    shift = np.pad(fit.place, ((0, 0), (0, 1)))
    skeleton = replace(skeleton, points={name: p + shift for name, p in skeleton.points.items()})
    drawn = sample_camera(np.random.default_rng(camera_seed), settings, len(fit.angles))
    camera = _with_room(replace(drawn, roll_degrees=fit.roll_degrees), skeleton, settings)
    scene = sample_scene(np.random.default_rng(scene_seed), settings, label, camera)
    return Recording(
        subject_name(index),
        label,
        None,
        fit.angles,
        skeleton,
        _project_joints(skeleton, body, camera, settings),
        body,
        camera,
        scene,
        settings,
        noise_seed,
    )


_ROOM = 0.94  # share of the frame's sides that the joints may take


def _with_room(camera: Camera, skeleton: Skeleton, settings: SyntheticSettings) -> Camera:
    """A camera that sees all joints, but for moments: farther off and moved where the drawn one does not."""
    points = np.stack([skeleton.points[name] for name in JOINTS], axis=1)
    xy, _ = replace(camera, torso_px=1.0, centre_px=np.zeros(2), shake=still(len(points))).project(points)
    low, high = np.percentile(xy, [1, 99], axis=0)
    low, high = low.min(axis=0), high.max(axis=0)
    frame = np.array([settings.width, settings.height])
    torso_px = min(camera.torso_px, float((_ROOM * frame / (high - low)).min()))
    margin = (1 - _ROOM) / 2 * frame
    centre = np.clip(camera.centre_px, margin - low * torso_px, frame - margin - high * torso_px)
    return replace(camera, torso_px=torso_px, centre_px=centre)


def _project_joints(
    skeleton: Skeleton, body: Body, camera: Camera, settings: SyntheticSettings
) -> NDArray[np.float32]:
    points = np.stack([skeleton.points[name] for name in JOINTS], axis=1)
    xy, _ = camera.project(points)
    inside = np.all((xy >= 0) & (xy <= [settings.width - 1, settings.height - 1]), axis=-1)
    seen = inside & visible_joints(skeleton, body)
    return np.concatenate([xy, seen[..., None]], axis=-1).astype(np.float32)
