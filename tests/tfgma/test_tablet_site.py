"""The site of a bundle: what is in it, what is refused, and the headers that it is served with."""

import hashlib
import json
import shutil
import threading
import urllib.request
import zipfile

import pytest
import tensorflow as tf

import tfgma.tablet_site as tablet_site
from pipelines.config import BuildConfig, InputSettings
from pipelines.schema import RefusedError
from tfgma.bundle import BUNDLE_VERSION, sealed
from tfgma.tablet_site import refuse_beforehand, refuse_unready, site_server, write_site

CLASSES = ["FMs", "PR", "WMs"]


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory):
    """A TFLite file with the signature of a bundle's."""

    @tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.float32, name="image")])
    def serve(image):
        return {"probabilities": tf.nn.softmax(tf.reduce_mean(image, axis=(1, 2)))}

    module = tf.Module()
    module.serve = serve
    folder = str(tmp_path_factory.mktemp("model") / "saved")
    tf.saved_model.save(module, folder, signatures=serve)
    return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


@pytest.fixture
def front_end(tmp_path):
    folder = tmp_path / "front"
    (folder / "litert").mkdir(parents=True)
    (folder / "sw.js").write_text('const VERSION = "__SITE_VERSION__";')
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "litert" / "a.wasm").write_bytes(b"\0asm")
    return folder


@pytest.fixture
def pose_files(tmp_path, monkeypatch):
    task, careful = tmp_path / "pose.task", tmp_path / "careful.tflite"
    with zipfile.ZipFile(task, "w") as archive:
        for name in ("pose_detector.tflite", "pose_landmarks_detector.tflite"):
            archive.writestr(name, name)
    careful.write_bytes(b"careful")
    monkeypatch.setattr(
        tablet_site, "pose_models", lambda build: (task, careful if build.pose.careful else None)
    )


def write_bundle(folder, model, *, inputs=("image",), build=None):
    folder.mkdir()
    (folder / "model_float32.tflite").write_bytes(model)
    shapes = {name: {"shape": [32, 32, 3], "meaning": ""} for name in inputs}
    calibration = {"temperature": 1.0, "fitted": False, "fits": [], "coverage": 0.9}
    content = {
        "bundle_version": BUNDLE_VERSION,
        "classes": CLASSES,
        "sampling": InputSettings().model_dump(),
        "build": (build or BuildConfig()).model_dump(),
        "inputs": shapes,
        "output": "probabilities",
        "files": {"model_float32.tflite": hashlib.sha256(model).hexdigest()},
        "calibration": calibration,
        "metrics": {},
        "run": {},
        "runtime": "2.1",
        "notice": "",
    }
    (folder / "bundle.json").write_text(json.dumps(sealed(content)))
    return folder


def test_a_site_holds_all_it_needs_and_says_so(tmp_path, model_bytes, front_end, pose_files):
    bundle = write_bundle(tmp_path / "mine", model_bytes)
    site = write_site(bundle, tmp_path / "site", front_end)
    files = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.*")}
    assert site["name"] == "mine"
    assert site["variants"] == ["float32"]
    assert site["pose"]["palms"] is None
    for name, digest in site["files"].items():
        assert hashlib.sha256((tmp_path / "site" / "model" / name).read_bytes()).hexdigest() == digest
    listed = json.loads((tmp_path / "site" / "precache.json").read_text())
    assert set(listed["files"]) == files - {"sw.js", "precache.json"}
    assert f'"{listed["version"]}"' in (tmp_path / "site" / "sw.js").read_text()


def test_equal_bundles_give_equal_sites_and_others_another_version(
    tmp_path, model_bytes, front_end, pose_files
):
    def version(name):
        return json.loads((tmp_path / name / "precache.json").read_text())["version"]

    bundle = write_bundle(tmp_path / "mine", model_bytes)
    write_site(bundle, tmp_path / "one", front_end)
    write_site(bundle, tmp_path / "two", front_end)
    (front_end / "index.html").write_text("<!doctype html><p>")
    write_site(bundle, tmp_path / "three", front_end)
    assert version("one") == version("two") != version("three")


def test_without_the_front_end_the_remedy_is_named(tmp_path, model_bytes, front_end, pose_files):
    shutil.rmtree(front_end)
    with pytest.raises(RefusedError, match=r"built front end\. Received: no sw\.js.*make tablet"):
        write_site(write_bundle(tmp_path / "mine", model_bytes), tmp_path / "site", front_end)


def test_a_taken_folder_is_refused_before_any_work(tmp_path, front_end):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "note").touch()
    with pytest.raises(RefusedError, match="new or empty folder"):
        refuse_unready(tmp_path / "site", front_end)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": ("image", "pose")}, "input pose"),
        ({"build": BuildConfig.model_validate({"flow": {"method": "dis"}})}, "flow.method dis"),
        (
            {"build": BuildConfig.model_validate({"flow": {"method": "horn_schunck"}})},
            "flow.method horn_schunck",
        ),
    ],
)
def test_what_the_app_cannot_compute_is_refused(tmp_path, model_bytes, front_end, pose_files, change, said):
    bundle = write_bundle(tmp_path / "mine", model_bytes, **change)
    with pytest.raises(RefusedError, match=rf"Received: {said}\. Train on"):
        write_site(bundle, tmp_path / "site", front_end)
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": ["image", "pose"]}, "input pose"),
        ({"build": BuildConfig.model_validate({"flow": {"method": "dis"}})}, "flow.method dis"),
        ({"variants": ["float16", "int16"]}, r"takes and gives float32\. Received: float16, int16"),
        ({"variants": ["int8"], "int8_io": True}, r"takes and gives float32\. Received: int8"),
        ({"bundle": "site"}, "--tablet must be another folder than --out"),
        ({"bundle": "site/bundle"}, "--tablet must be another folder than --out"),
    ],
)
def test_what_no_site_can_be_of_is_refused_before_it_is_exported(tmp_path, front_end, change, said):
    given = {"inputs": ["image"], "build": BuildConfig(), "variants": ["float32"], "int8_io": False}
    asked = given | {"bundle": "bundle"} | change

    def refuse(options):
        bundle = tmp_path / options["bundle"]
        rest = {name: value for name, value in options.items() if name != "bundle"}
        refuse_beforehand(tmp_path / "site", bundle, front_end=front_end, **rest)

    refuse(given | {"bundle": "bundle", "variants": ["int8"]})
    with pytest.raises(RefusedError, match=said):
        refuse(asked)


def test_a_changed_model_is_refused(tmp_path, model_bytes, front_end, pose_files):
    bundle = write_bundle(tmp_path / "mine", model_bytes)
    (bundle / "model_float32.tflite").write_bytes(b"other")
    with pytest.raises(RefusedError, match="must be the exported file"):
        write_site(bundle, tmp_path / "site", front_end)


def test_a_bundle_of_other_variants_is_refused(tmp_path, model_bytes, front_end, pose_files):
    bundle = write_bundle(tmp_path / "mine", model_bytes)
    content = json.loads((bundle / "bundle.json").read_text())
    content["files"] = {"model_float16.tflite": content["files"]["model_float32.tflite"]}
    (bundle / "bundle.json").write_text(json.dumps(sealed(content)))
    with pytest.raises(
        RefusedError, match=r"float32 or int8 that takes and gives float32\. Received: model_float16"
    ):
        write_site(bundle, tmp_path / "site", front_end)


def test_the_server_keeps_requests_at_home(tmp_path, front_end):
    (front_end / "worker.js").touch()
    with site_server(front_end) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        headers = {
            name: urllib.request.urlopen(f"{address}/{name}").headers for name in ("index.html", "worker.js")
        }
        server.shutdown()
    for name, given in headers.items():
        assert "connect-src 'self'" in given["Content-Security-Policy"]
        assert ("'unsafe-eval'" in given["Content-Security-Policy"].replace("wasm-unsafe-eval", "")) == (
            name == "worker.js"
        )
        assert given["Cross-Origin-Embedder-Policy"] == "require-corp"


def test_a_taken_port_is_refused(front_end):
    with site_server(front_end) as server, pytest.raises(RefusedError, match="--port must be free"):
        site_server(front_end, server.server_address[1])
