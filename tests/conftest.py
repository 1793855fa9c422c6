"""Things that several rooms' tests need: small videos, clips, and one data set of generated infants."""

import fcntl
import os
import signal
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import av
import numpy as np
import pytest

from pipelines.clips import Clip
from pipelines.schema import JOINTS, ClipSpec

TINY = ClipSpec(fps=6, clip_seconds=1, stride_seconds=1, size=64, max_flow_px=8)


def write_video(path, frames, *, fps=30, times=None, codec="libx264", options=None, container_options=None):
    """Writes frames (H, W, 3) uint8 RGB at `times` (seconds; default: every 1 / fps)."""
    from fractions import Fraction

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(
            codec, rate=fps, options=options or {"crf": "10", "preset": "ultrafast"}
        )
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 9000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.time_base = Fraction(1, 9000)
            frame.pts = round((number / fps if times is None else times[number]) * 9000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbered_frames(count, height=64, width=96):
    """Frames whose grey level is 2.8 * number, so that a decoded frame tells which one it is."""
    return [np.full((height, width, 3), round(2.8 * number), np.uint8) for number in range(count)]


def random_clip(seed=0, spec=TINY):
    """A clip of noise."""
    rng = np.random.default_rng(seed)
    size = spec.size
    return Clip(
        start_seconds=1.25,
        fps=spec.fps,
        rgb=rng.integers(0, 256, (spec.num_frames, size, size, 3), np.uint8),
        flow=rng.integers(1, 256, (spec.num_flows, size, size, 2), np.uint8),
        pose=rng.random((spec.num_frames, len(JOINTS), 3), np.float32) * size,
        joint_features=rng.normal(size=(spec.num_frames, 18, 7)).astype(np.float32),
        mask_area=rng.random(spec.num_frames, np.float32),
        quality=0.875,
    )


@pytest.fixture
def ctrl_c():
    """Programs that a test starts hear SIGINT, also where the tests run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def infants(made_once):
    """Nine generated infants, three of each class, 5 s each."""
    from pipelines.synthetic import SyntheticSettings, generate

    settings = SyntheticSettings(ground_truth=True, mask_every=5)
    return made_once("videos", lambda out: generate(out, settings, subjects=9, seconds=5, seed=11, workers=2))


@pytest.fixture(scope="session")
def dataset(infants, made_once):
    """The data set built from `infants` with tests/study.yaml."""
    from pipelines.build import build_dataset
    from tfgma.config import load_study

    config = load_study(Path(__file__).parent / "study.yaml").build
    return made_once("dataset", lambda out: build_dataset(infants, out, config, workers=2))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """`made_once(name, make)`: a folder that `make(folder)` fills, once for all processes that test."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def made(name, make):
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / f"{name}.made").exists():
                make(root / name)
                (root / f"{name}.made").touch()
        return root / name

    return made
