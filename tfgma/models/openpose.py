"""OpenPose's network of 18 body joints, as trained on COCO (Cao et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
from keras import layers

from pipelines.schema import RefusedError

STRIDE: Final = 8
PAF_CHANNELS: Final = 38
"""x and y of a unit vector along each of 19 limbs."""
HEATMAP_CHANNELS: Final = 19
"""18 joints, then the background."""
STAGES: Final = 6

# (convolution, channels) in groups; a group after the first begins with a pooling.
FEATURES: Final = (
    (("conv1_1", 64), ("conv1_2", 64)),
    (("conv2_1", 128), ("conv2_2", 128)),
    (("conv3_1", 256), ("conv3_2", 256), ("conv3_3", 256), ("conv3_4", 256)),
    (("conv4_1", 512), ("conv4_2", 512), ("conv4_3_CPM", 256), ("conv4_4_CPM", 128)),
)


def openpose(image_shape: Sequence[int], *, name: str = "openpose") -> keras.Model:
    """A network that finds joints, and the limbs that join them, of any number of people.

    Input `image` (B, H, W, 3) float32, -0.5..0.5: for the published weights BGR / 256 - 0.5. Output: dict of
    `paf` (B, H/8, W/8, 38) float32, x then y of the unit vector along each limb, and `heatmap`
    (B, H/8, W/8, 19) float32, how surely each joint, at last the background, lies there; both of the last
    stage. `pipelines.part_association` reads people from them.

    Args:
        image_shape: (H, W, 3), sides in multiples of 8; the published weights were trained at 368.
        name: the network's name.

    Raises:
        RefusedError: not the shape of a colour picture, or a side that is not a multiple of 8.
    """
    shape = tuple(image_shape)
    sides = shape[:2]
    if len(shape) != 3 or shape[2] != 3 or not all(isinstance(n, int) and n > 0 for n in sides):
        raise RefusedError(f"image_shape must be (H, W, 3), known sides. Received: {shape}")
    if any(side % STRIDE for side in sides):
        raise RefusedError(
            f"image_shape's sides must be multiples of {STRIDE}. Received: {shape}. Pad the picture"
        )
    image = keras.Input(shape, name="image")

    x = image
    for number, group in enumerate(FEATURES):
        if number > 0:
            x = layers.MaxPooling2D(2, 2, name=f"model0-pool{number}")(x)
        for layer, filters in group:
            x = _convolution(x, filters, 3, f"model0-{layer}")
    features = x

    for stage in range(1, STAGES + 1):
        paf = _branch(x, stage, 1, PAF_CHANNELS)
        heatmap = _branch(x, stage, 2, HEATMAP_CHANNELS)
        if stage < STAGES:
            x = layers.Concatenate(name=f"stage{stage + 1}-input")([paf, heatmap, features])
    # The code that the published answers come from cuts the last joint maps off below 0. No joint is lost.
    heatmap = layers.ReLU(name="heatmap", dtype="float32")(heatmap)
    paf = layers.Activation("linear", name="paf", dtype="float32")(paf)
    return keras.Model({"image": image}, {"paf": paf, "heatmap": heatmap}, name=name)


def _branch(x: keras.KerasTensor, stage: int, branch: int, channels: int) -> keras.KerasTensor:
    """One stage's answer; `branch` is 1 for limbs and 2 for joints."""
    module = f"model{stage}_{branch}"
    if stage == 1:
        plan = [(128, 3), (128, 3), (128, 3), (512, 1), (channels, 1)]
        names = [f"{module}-conv5_{number}_CPM_L{branch}" for number in range(1, len(plan) + 1)]
    else:
        plan = [(128, 7)] * 5 + [(128, 1), (channels, 1)]
        names = [f"{module}-Mconv{number}_stage{stage}_L{branch}" for number in range(1, len(plan) + 1)]
    for (filters, size), name in zip(plan[:-1], names[:-1], strict=True):
        x = _convolution(x, filters, size, name)
    return layers.Conv2D(channels, 1, name=names[-1])(x)


def _convolution(x: keras.KerasTensor, filters: int, size: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(filters, size, padding="same", kernel_initializer="he_normal", name=name)(x)
    return layers.ReLU(name=f"{name}-relu")(x)
