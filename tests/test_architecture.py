"""The floors of the house: who may import whom."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {
    "numpy",
    "pydantic",
    "yaml",
    "pipelines.schema",
    "pipelines.config",
    "pipelines.optional",
    "pipelines.files",
    "pipelines.journal",
}
FLOOR_0 = {"schema", "config", "optional", "files", "journal"}
FLOOR_1 = {
    "manifest",
    "video",
    "video_file",
    "video_pixels",
    "video_times",
    "pose",
    "pose_model",
    "pose_network",
    "palm_network",
    "detectors",
    "squares",
    "bystanders",
    "camera",
    "quality",
    "alignment",
    "flow",
    "clips",
    "splits",
    "fingerprints",
    "faces",
    "synthetic",
    "keypoints",
    "joint_features",
    "part_association",
    "inputs",
    "sampling",
}
FLOOR_2 = {
    "record_writer",
    "records",
    "transforms",
    "dataset",
    "mixing",
    "build",
    "process",
    "tools",
    "sequences",
    "verify",
    "interchange",
    "reanimate",
    "workers",
    "duplicates",
    "likely_copies",
    "pseudonyms",
}
FIGURES = {"aggregation", "attention", "calibration", "intervals", "metrics", "weighted_metrics"}
FLOOR_3 = {"config", "layers", "outputs"} | FIGURES
FLOOR_4 = {"models", "weights"}
SHARED_ON_FLOOR_1 = {"pipelines.squares"}
ALLOWED_ON_FLOOR_1 = BASE | {"cv2", "av", "mediapipe", "flatbuffers", "platformdirs", "sklearn"}
NO_TENSORFLOW = {
    "pipelines/build.py",
    "pipelines/record_writer.py",
    "pipelines/process.py",
    "pipelines/duplicates.py",
    "tfgma/inference.py",
    "tfgma/network_flow.py",
    "tfgma/streaming.py",
    "tfgma/bundle.py",
    "tfgma/pictures.py",
    "tfgma/clip_pictures.py",
    "tfgma/overlay.py",
    "tfgma/verdict.py",
    "tfgma/outcomes.py",
    "tfgma/pages.py",
    "tfgma/assessment_content.py",
    "tfgma/assessment_page.py",
    "tfgma/assessment_report.py",
    "tfgma/watching.py",
    "tfgma/tablet_site.py",
    "tfgma/assessment_sheet.py",
    "pipelines/tools.py",
    "pipelines/pseudonyms.py",
    "pipelines/sequences.py",
    "pipelines/reanimate.py",
    "pipelines/inputs.py",
    "tfgma/scores.py",
    "tfgma/evaluation.py",
    "tfgma/comparison.py",
    "tfgma/report.py",
    "tfgma/charts.py",
    "tfgma/audit.py",
    "tfgma/data_flow.py",
    "tfgma/strips.py",
}
# manifest asks video which endings count as videos; inputs reads clips and their flow codes; pose follows
# what pose_network reads.
SIBLINGS = {
    ("manifest", "video"),
    ("manifest", "keypoints"),
    ("inputs", "clips"),
    ("inputs", "flow"),
    ("pose", "pose_network"),
    ("pose", "palm_network"),
    ("pose", "bystanders"),
    ("bystanders", "pose_network"),
    ("bystanders", "palm_network"),
    ("pose_network", "detectors"),
    ("palm_network", "detectors"),
}

FILES = sorted([*ROOT.glob("pipelines/**/*.py"), *ROOT.glob("tfgma/**/*.py")])


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, other than the standard library's."""
    import sys

    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names}


def room(path: Path) -> tuple[str, str]:
    """Package and room of a file: ("pipelines", "video")."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0], parts[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_stay_on_their_floor(path: Path) -> None:
    package, name = room(path)
    used = imports(path)
    if package == "pipelines":
        assert not {one for one in used if one.startswith("tfgma")}
        if name in FLOOR_0:
            assert {one for one in used if not one.startswith("pipelines")} <= BASE | {"yaml"}
            assert {one for one in used if one.startswith("pipelines")} <= BASE
        elif name in FLOOR_1:
            own = {one for one in used if one.startswith(f"pipelines.{name}")}
            allowed = {f"pipelines.{other}" for user, other in SIBLINGS if user == name}
            outside = {one for one in used - own - allowed if one not in BASE | SHARED_ON_FLOOR_1}
            assert {one.partition(".")[0] for one in outside} <= ALLOWED_ON_FLOOR_1
        else:
            assert name in FLOOR_2 or name == "__init__", f"{name} has no floor"
    elif name in FLOOR_3:
        assert used <= BASE | {"keras", *(f"tfgma.{other}" for other in FIGURES)}
    elif name in FLOOR_4:
        foreign = {
            one
            for one in used
            if not one.startswith(("keras", "tfgma.models", "tfgma.weights", "tfgma.layers"))
        }
        assert foreign <= BASE
    elif name != "cli":
        assert not {one for one in used if re.match(r"(tfgma\.cli|click)\b", one)}


@pytest.mark.parametrize("file", sorted(NO_TENSORFLOW))
def test_rooms_of_the_runtime_do_not_import_tensorflow(file: str) -> None:
    assert not {
        one
        for one in imports(ROOT / file)
        if one.startswith(("tensorflow", "keras")) or one == "pipelines.records"
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_opens_with_one_sentence(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert doc
    first = doc.split("\n\n")[0]
    assert first.rstrip().endswith((".", ")."))
