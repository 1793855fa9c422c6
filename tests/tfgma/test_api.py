"""The package's functions: they are the commands, and importing them loads nothing."""

import inspect
import subprocess
import sys

import pytest

import tfgma
from pipelines.schema import RefusedError


def test_importing_loads_nothing():
    heavy = ("tensorflow", "keras", "cv2", "mediapipe", "sklearn", "scipy", "matplotlib", "av")
    code = f"import sys, tfgma; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", tfgma.__all__)
def test_every_function_is_typed_and_says_what_it_takes(name):
    function = getattr(tfgma, name)
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Signature.empty
        assert f"{parameter.name}:" in function.__doc__
    assert "Raises:" in function.__doc__


def test_infants_are_generated_and_built(tmp_path):
    videos = tfgma.synthesize(
        tmp_path / "videos", subjects=1, seconds=1.2, classes=("FMs",), width=320, height=240
    )
    assert [path.name for path in videos.rglob("*.mp4")] == ["video.mp4"]
    settings = ["build.clip.clip_seconds=1", "build.clip.stride_seconds=1", "build.clip.size=64"]
    index = tfgma.build(videos, tmp_path / "dataset", settings=settings)
    assert index["classes"] == ["FMs"]
    assert [entry["subject"] for entry in index["videos"]] == ["infant_001"]
    assert index["clip"]["size"] == 64
    assert tfgma.build(str(videos), str(tmp_path / "dataset"), settings=settings) == index


def test_refusals_are_those_of_the_commands(tmp_path):
    with pytest.raises(RefusedError, match="shaking"):
        tfgma.synthesize(tmp_path / "videos", subjects=3, shaking=2)
    with pytest.raises(RefusedError, match="--model must be a folder that tfgma export wrote"):
        tfgma.predict(tmp_path / "one.mp4", tmp_path)
    with pytest.raises(RefusedError, match="RUN must be a folder that tfgma train wrote"):
        tfgma.evaluate(tmp_path)
