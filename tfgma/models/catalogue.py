"""All networks by their published names, with the shapes that they take and the checkpoints they accept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import keras

from tfgma.models.backbones import ImageClassifier
from tfgma.models.efficientnet_lite import VARIANTS as LITE_VARIANTS
from tfgma.models.openpose import openpose
from tfgma.models.raft import raft_large, raft_small
from tfgma.models.resnet import VARIANTS
from tfgma.models.slowfast import slowfast_r50
from tfgma.models.stam import Stam, is_unused
from tfgma.models.two_stream import TwoStream
from tfgma.models.u2net import u2net
from tfgma.models.video_classifier import VideoClassifier

Shape = tuple[int, ...]


def _none(tensor: str) -> bool:
    return False


@dataclass(frozen=True)
class Network:
    """One published network.

    `build`: called with each of `shapes` as NAME_shape, `num_classes` if there is a `head`, and `settings`.
    `shapes`: input name -> default shape without batch, channels last. `head`: module path of the layer that
    gives one number a class. `stems`: input name -> module path of the first convolution, whose input
    channels are those of the shape. `prefix`: what our tensors' names have before the published
    ones. `unused`: tells tensors that the published code holds and never uses.
    `settings`: further whole numbers, with their defaults. `source`: paper.
    `checkpoint`: whose files are accepted.
    """

    build: Callable[..., keras.Model]
    shapes: dict[str, Shape]
    source: str
    checkpoint: str
    head: str | None = None
    stems: dict[str, str] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)
    prefix: str = ""
    unused: Callable[[str], bool] = _none

    def __call__(self, shapes: dict[str, Shape], num_classes: int | None, **settings: int) -> keras.Model:
        """The network; what is not given has its default."""
        arguments = {f"{name}_shape": shape for name, shape in (self.shapes | shapes).items()}
        classes = {} if self.head is None else {"num_classes": num_classes}
        return self.build(**arguments, **classes, **(self.settings | settings))


IMAGE: Final[Shape] = (224, 224, 3)
FLOW: Final[Shape] = (224, 224, 60)
CLIP: Final[Shape] = (8, 224, 224, 3)
HASHIMOTO = "Hashimoto et al., MICCAI 2022"
TWO_STREAM_GMA = "two-stream-gma"
TORCHVISION = "torchvision"
PYTORCHVIDEO = "PyTorchVideo"


def _two_streams(variant: str) -> dict[str, Network]:
    def network(streams: str, fusion: str, head: str, stems: dict[str, str]) -> Network:
        build = partial(
            TwoStream, streams=streams, fusion=fusion, image_backbone=variant, flow_backbone=variant
        )
        shapes = {"image": IMAGE, "flow": FLOW}
        return Network(build, shapes, HASHIMOTO, TWO_STREAM_GMA, head, stems)

    spatial, temporal = {"image": "spatial.conv1"}, {"flow": "temporal.conv1"}
    return {
        f"two_stream_{variant}_conv1x1": network("both", "conv1x1", "classifier.1", spatial | temporal),
        f"two_stream_{variant}_original": network("both", "sum", "spatial.fc", spatial | temporal),
        f"spatial_{variant}": network("image", "sum", "spatial.fc", spatial),
        f"temporal_{variant}": network("flow", "sum", "temporal.fc", temporal),
    }


def _image(backbone: str, side: int, head: str, source: str, checkpoint: str) -> Network:
    stem = "_conv_stem" if backbone.startswith("efficientnet_lite") else "conv1"
    build = partial(ImageClassifier, backbone=backbone)
    return Network(
        build, {"image": (side, side, 3)}, source, checkpoint, head, {"image": stem}, prefix="image."
    )


def _stam(partition: str, max_hop: int) -> Network:
    build = partial(Stam, partition=partition, max_hop=max_hop)
    source = "Nguyen-Thai et al., IEEE JBHI 2021"
    return Network(build, {"pose": (9, 30, 18, 7)}, source, "STAM", "output.1", unused=is_unused)


def _video(network: str, shape: Shape, head: str, stem: str, source: str, checkpoint: str) -> Network:
    build = partial(VideoClassifier, network=network)
    return Network(build, {"frames": shape}, source, checkpoint, head, {"frames": stem})


def _raft(build: Callable[..., keras.Model]) -> Network:
    shapes = {"frame0": IMAGE, "frame1": IMAGE}
    return Network(build, shapes, "Teed and Deng, ECCV 2020", TORCHVISION, settings={"num_updates": 12})


PUBLISHED_RESNETS: Final = [variant for variant in VARIANTS if variant != "resnet10"]
RESNET_PAPER, LITE_PAPER = "He et al., CVPR 2016", "Tan and Le, ICML 2019; Lite variants by R. Liu"
X3D_PAPER = "Feichtenhofer, CVPR 2020"

NETWORKS: Final[dict[str, Network]] = {
    **{name: network for variant in PUBLISHED_RESNETS for name, network in _two_streams(variant).items()},
    **{variant: _image(variant, 224, "fc", RESNET_PAPER, TORCHVISION) for variant in PUBLISHED_RESNETS},
    **{
        variant: _image(variant, scale.side_px, "_fc", LITE_PAPER, "efficientnet_lite_pytorch")
        for variant, scale in LITE_VARIANTS.items()
    },
    **{
        f"stam_{partition}{hop}": _stam(partition, hop)
        for partition in ("uniform", "distance", "spatial")
        for hop in (1, 2, 3)
    },
    "slow_r50": _video(
        "slow_r50", CLIP, "blocks.5.proj", "blocks.0.conv", "Feichtenhofer et al., ICCV 2019", PYTORCHVIDEO
    ),
    "c2d_r50": _video(
        "c2d_r50", CLIP, "blocks.6.proj", "blocks.0.conv", "Wang et al., CVPR 2018", PYTORCHVIDEO
    ),
    "i3d_r50": _video(
        "i3d_r50", CLIP, "blocks.6.proj", "blocks.0.conv", "Carreira and Zisserman, CVPR 2017", PYTORCHVIDEO
    ),
    "csn_r101": _video(
        "csn_r101",
        (32, 224, 224, 3),
        "blocks.5.proj",
        "blocks.0.conv",
        "Tran et al., ICCV 2019",
        PYTORCHVIDEO,
    ),
    "r2plus1d_r50": _video(
        "r2plus1d_r50",
        (16, 224, 224, 3),
        "blocks.5.proj",
        "blocks.0.conv",
        "Tran et al., CVPR 2018",
        PYTORCHVIDEO,
    ),
    **{
        name: _video(name, shape, "blocks.5.proj", "blocks.0.conv.conv_t", X3D_PAPER, PYTORCHVIDEO)
        for name, shape in {
            "x3d_xs": (4, 160, 160, 3),
            "x3d_s": (13, 160, 160, 3),
            "x3d_m": (16, 224, 224, 3),
            "x3d_l": (16, 312, 312, 3),
        }.items()
    },
    "c3d": _video("c3d", (16, 112, 112, 3), "fc8", "conv1", "Tran et al., ICCV 2015", "C3D in PyTorch"),
    "slowfast_r50": Network(
        slowfast_r50,
        {"slow": CLIP, "fast": (32, 224, 224, 3)},
        "Feichtenhofer et al., ICCV 2019",
        PYTORCHVIDEO,
        "blocks.6.proj",
        {"slow": "blocks.0.multipathway_blocks.0.conv", "fast": "blocks.0.multipathway_blocks.1.conv"},
    ),
    "u2net": Network(u2net, {"image": (320, 320, 3)}, "Qin et al., Pattern Recognition 2020", "U-2-Net"),
    "openpose": Network(
        openpose,
        {"image": (368, 368, 3)},
        "Cao et al., CVPR 2017",
        "OpenPose COCO body in PyTorch (non-commercial)",
    ),
    "raft_large": _raft(raft_large),
    "raft_small": _raft(raft_small),
}
"""name -> network; the names are those that `tfgma convert-weights --network` takes."""
