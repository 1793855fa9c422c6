"""Image networks whose blocks take some channels from the frame before (Lin, Gan, Han, ICCV 2019).

Nothing is taken from later frames, so that the same weights answer for a clip at once, or frame by frame
while it is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import keras
from keras import layers, ops

from pipelines.schema import RefusedError
from tfgma.layers import PACKAGE, Folded, FoldFrames, Shape, classifier, clip_shape, frames_at
from tfgma.models.efficientnet_lite import VARIANTS as LITE_VARIANTS
from tfgma.models.efficientnet_lite import efficientnet_lite
from tfgma.models.resnet import VARIANTS, resnet

STREAMS: Final = ("both", "frames", "flow")
SUM, COUNT = "feature_sum", "frame_count"
"""States of a network that takes a frame at a time: what its mean over time is computed from."""

RUNNING_MEAN = "running_mean"
"""The layer that computes it."""


@keras.saving.register_keras_serializable(package=PACKAGE)
class CausalShift(Folded):
    """Each frame's first channels are those of the frame before, zeros in a clip's first frame."""

    def __init__(self, frames: int, channels: int, **options: Any) -> None:
        """`frames`: frames of one clip; `channels`: how many come from the frame before."""
        super().__init__(frames, **options)
        self.channels = channels

    def call(self, inputs: Any) -> Any:
        """(B * frames, H, W, C) -> the same shape."""
        own = inputs[..., : self.channels]
        before = frames_at(own, self.frames, offset=-1, stride=1)
        return self.joined(ops.zeros_like(own) if before is None else before, inputs)

    def joined(self, before: Any, inputs: Any) -> Any:
        """`inputs` with `before` (B, H, W, channels) in the place of its first channels."""
        return ops.concatenate([before, inputs[..., self.channels :]], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that build the layer again."""
        return super().get_config() | {"channels": self.channels}


@keras.saving.register_keras_serializable(package=PACKAGE)
class FoldFlow(keras.Layer):
    """(B, H, W, 2L), x0, y0, x1, y1, ... -> (B * L, H, W, 2), with zeros before the first flow if asked."""

    def __init__(self, from_rest: bool, **options: Any) -> None:
        """`from_rest`: whether each clip begins with a flow of zeros, so that there are L + 1."""
        super().__init__(**options)
        self.from_rest = from_rest

    def call(self, inputs: Any) -> Any:
        """Moves time from the channels into the first axis."""
        _, height, width, channels = inputs.shape
        x = ops.reshape(inputs, (-1, height * width, channels))
        if self.from_rest:
            x = ops.pad(x, ((0, 0), (0, 0), (2, 0)))
        x = ops.reshape(x, (-1, height * width, x.shape[-1] // 2, 2))
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, height, width, 2))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        batch, height, width, channels = input_shape
        assert channels is not None
        flows = channels // 2 + self.from_rest
        return (None if batch is None else batch * flows, height, width, 2)

    def get_config(self) -> dict[str, Any]:
        """Arguments that build the layer again."""
        return super().get_config() | {"from_rest": self.from_rest}


@keras.saving.register_keras_serializable(package=PACKAGE)
class FrameMean(Folded):
    """Mean over a clip's frames: (B * frames, F) -> (B, F)."""

    def call(self, inputs: Any) -> Any:
        """Computes the mean."""
        return ops.mean(ops.reshape(inputs, (-1, self.frames, inputs.shape[-1])), axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the answer."""
        return (self._batch(input_shape[0], 1), input_shape[-1])


@keras.saving.register_keras_serializable(package=PACKAGE)
class RunningMean(keras.Layer):
    """Mean of one more: features (B, F), the sum (B, F) and number (B, 1) of those before -> all three."""

    def call(self, inputs: Sequence[Any]) -> tuple[Any, Any, Any]:
        """The mean (B, F), the new sum and the new number."""
        features, total, count = inputs
        total, count = ops.add(total, features), ops.add(count, 1.0)
        return ops.divide(total, count), total, count

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> tuple[Shape, ...]:
        """Shapes of the answers."""
        features, total, count = input_shape
        return features, total, count


def TemporalShift(  # noqa: N802 - reads as the network that it builds
    frames_shape: Sequence[int],
    flow_shape: Sequence[int],
    num_classes: int,
    *,
    streams: str = "both",
    frames_backbone: str = "efficientnet_lite0",
    flow_backbone: str = "efficientnet_lite0",
    width: int = 64,
    shift_share: float = 0.125,
    dropout: float = 0.0,
    name: str = "temporal_shift",
) -> keras.Model:
    """A classifier of clips that never looks ahead; see `streaming`.

    Inputs by name: `frames` (B, T, H, W, 3) float32; `flow` (B, H, W, 2L) float32, x0, y0, x1, y1, ... With
    both, T = L + 1: a frame goes with the flow from the frame before it, the first one with zeros. Output:
    dict with `logits` (B, num_classes) float32, of features averaged over time.

    Args:
        frames_shape: (T, H, W, 3).
        flow_shape: (H, W, 2L).
        num_classes: number of classes; 1 for a single logit.
        streams: both, joined by a 1x1 convolution of their feature maps; or frames, or flow alone.
        frames_backbone, flow_backbone: an EfficientNet-Lite or a residual network.
        width: channels of a residual network's first stage.
        shift_share: share of the channels that a block's branch takes from the frame before, at least one.
            Blocks without a shortcut take none: nothing would be left of those channels' own frame.
        dropout: share of features dropped in training.
        name: the network's name.

    Raises:
        RefusedError: an unknown name, a wrong shape, frames and flows that do not go together, or no classes.
    """
    if streams not in STREAMS:
        raise RefusedError(f'streams must be one of {", ".join(STREAMS)}. Received: "{streams}"')
    if not 0 < shift_share < 1:
        raise RefusedError(f"shift_share must lie between 0 and 1. Received: {shift_share}")
    if len(flow_shape) != 3 or flow_shape[-1] % 2:
        raise RefusedError(f"flow_shape must be (H, W, 2L), x and y in turn. Received: {tuple(flow_shape)}")
    count, flows = clip_shape(frames_shape)[0], flow_shape[-1] // 2
    if streams == "both" and count != flows + 1:
        raise RefusedError(
            "a frame goes with the flow that leads to it, so there must be one frame more than flows. "
            f"Received: {count} frames and {flows} flows. Set inputs.num_frames to {flows + 1}"
        )
    steps = flows if streams == "flow" else count

    def shift(x: keras.KerasTensor, label: str) -> keras.KerasTensor:
        return CausalShift(steps, max(1, int(shift_share * x.shape[-1])), name=label)(x)

    def trunk(backbone: str, shape: Sequence[int], prefix: str) -> keras.Model:
        if backbone in LITE_VARIANTS:
            return efficientnet_lite(backbone, shape, prefix=prefix, mixing=shift)
        if backbone in VARIANTS:
            return resnet(backbone, shape, width=width, prefix=prefix, mixing=shift)
        known = ", ".join([*LITE_VARIANTS, *VARIANTS])
        raise RefusedError(f'backbone must be one of {known}. Received: "{backbone}"')

    inputs, maps = {}, []
    if streams != "flow":
        inputs["frames"] = keras.Input(tuple(frames_shape), name="frames")
        folded = FoldFrames(name="frames-fold")(inputs["frames"])
        maps.append(trunk(frames_backbone, tuple(frames_shape)[1:], "frames-")(folded))
    if streams != "frames":
        inputs["flow"] = keras.Input(tuple(flow_shape), name="flow")
        folded = FoldFlow(streams == "both", name="flow-fold")(inputs["flow"])
        maps.append(trunk(flow_backbone, (*flow_shape[:2], 2), "flow-")(folded))
    joined = maps[0]
    if streams == "both":
        both = layers.Concatenate(name="streams")(maps)
        joined = layers.Conv2D(joined.shape[-1], 1, name="conv1x1")(both)
    pooled = layers.GlobalAveragePooling2D(name="pool")(joined)
    features = FrameMean(steps, name="mean")(pooled)
    logits = classifier(features, num_classes, dropout, "classifier")
    return keras.Model(inputs, {"logits": logits}, name=name)


def streaming(network: keras.Model) -> keras.Model:
    """A network that takes one frame at a time, with the weights of `network`, which both go on sharing.

    Inputs by name, batch 1: `frame` (1, H, W, 3) and `flow` (1, H, W, 2) float32, the flow from the frame
    before, zeros with the first; those that `network` takes. And its states, zeros at first: a `..._shift`
    (1, H, W, C) for every block that takes channels from the frame before, `feature_sum` (1, F) and
    `frame_count` (1, 1). Output: dict with `logits` (1, num_classes) of all frames so far, and every state's
    next value.

    Args:
        network: of `TemporalShift`.

    Raises:
        RefusedError: another network.
    """
    if not any(isinstance(layer, FrameMean) for layer in network.layers):
        raise RefusedError(
            f'a network that streams must be of the family temporal_shift. Received: "{network.name}"'
        )
    given: dict[str, keras.KerasTensor] = {}
    following: dict[str, keras.KerasTensor] = {}

    def state(label: str, shape: Shape) -> keras.KerasTensor:
        given[label] = keras.Input(batch_shape=(1, *shape[1:]), name=label)
        return given[label]

    def stepped(layer: Any) -> Callable[..., Any]:
        def call(x: Any, *others: Any, **options: Any) -> Any:
            if isinstance(layer, FoldFrames | FoldFlow):
                return x
            if isinstance(layer, CausalShift):
                label = layer.name.replace("-", "_")
                own = x[..., : layer.channels]
                following[label] = own
                return layer.joined(state(label, own.shape), x)
            if isinstance(layer, FrameMean):
                before = [state(SUM, x.shape), state(COUNT, (1, 1))]
                mean, following[SUM], following[COUNT] = RunningMean(name=RUNNING_MEAN)([x, *before])
                return mean
            if isinstance(layer, keras.Model):
                return run(layer, [x])
            return layer(x, *others, **options)

        return call

    def run(model: keras.Model, values: Sequence[keras.KerasTensor]) -> Any:
        return model._run_through_graph(values, stepped)

    frames = {
        tensor.name: keras.Input(batch_shape=(1, *shape), name=label)
        for tensor in network.inputs
        for label, shape in [
            ("flow", (*tensor.shape[1:3], 2)) if tensor.name == "flow" else ("frame", tensor.shape[2:])
        ]
    }
    logits = run(network, [frames[tensor.name] for tensor in network.inputs])["logits"]
    inputs = {tensor.name: tensor for tensor in frames.values()} | given
    return keras.Model(inputs, {"logits": logits} | following, name=f"{network.name}_step")
