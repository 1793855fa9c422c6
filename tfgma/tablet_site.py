"""Writes the site that runs a bundle in a tablet's browser: static files, nothing from elsewhere."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import zipfile
from collections.abc import Collection
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipelines.config import BuildConfig
from pipelines.files import folder_written_whole, refuse_taken
from pipelines.schema import RefusedError
from pipelines.tools import pose_models
from tfgma._version import __version__
from tfgma.bundle import BUNDLE_FILE, BundleDescription, checked_file, model_file, read_bundle
from tfgma.inference import TFLiteModel

FRONT_END = Path(__file__).parent / "tablet_front"
"""What `make tablet` builds from tablet/; the wheel holds it."""
SITE_FORMAT = 1
MODEL_FOLDER = "model"
SITE_FILE = "site.json"
PRECACHE_FILE = "precache.json"
SERVICE_WORKER = "sw.js"
VERSION_PLACE = "__SITE_VERSION__"
VARIANTS = ("float32", "int8")
"""What a site offers, of what the bundle has: the certified original, and the small fast one."""
INPUTS = ("image", "frames", "slow", "fast", "flow")
"""What the app makes of a clip."""
NETWORKS = {
    "detector": "pose_detector.tflite",
    "reader": "pose_landmarks_detector.tflite",
    "palms": "palm_detector.tflite",
}
"""Files of the `.task` file, by what site.json calls them."""
CAREFUL = "pose_careful.tflite"

POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
)
"""What pages may ask for: their own origin, and nothing else (tablet/src/sw.ts keeps the same)."""


def write_site(bundle: Path, out: Path, front_end: Path = FRONT_END) -> dict[str, Any]:
    """Writes the site of a bundle; equal inputs give equal bytes.

    Args:
        bundle: folder that `tfgma export` wrote.
        out: folder that is not there yet.
        front_end: the built front end.

    Returns:
        The content of site.json.

    Raises:
        RefusedError: no bundle, one that the app cannot run, no front end, or `out` exists.
    """
    refuse_unready(out, front_end)
    description = read_bundle(bundle)
    refuse_unsupported(description.build, description.inputs)
    found = [model_file(variant) for variant in VARIANTS if model_file(variant) in description.files]
    contents = {name: checked_file(bundle, description, name) for name in found}
    # Browsers' LiteRT has no int8 tensors on its outside.
    models = {name: content for name, content in contents.items() if TFLiteModel(content, 1).takes_float32}
    if not models:
        raise _none_for_browsers(description.files)
    networks, pose = _pose_networks(description)
    with folder_written_whole(out) as part:
        shutil.copytree(front_end, part, dirs_exist_ok=True)
        folder = part / MODEL_FOLDER
        folder.mkdir()
        for name, content in (models | networks).items():
            (folder / name).write_bytes(content)
        shutil.copyfile(bundle / BUNDLE_FILE, folder / BUNDLE_FILE)
        site = {
            "format": SITE_FORMAT,
            "name": bundle.resolve().name,
            "variants": [variant for variant in VARIANTS if model_file(variant) in models],
            "pose": pose,
            "files": {
                name: hashlib.sha256(content).hexdigest() for name, content in (models | networks).items()
            },
            "tfgma": __version__,
        }
        _write_json(folder / SITE_FILE, site)
        _stamp(part)
    return site


def refuse_unready(out: Path, front_end: Path = FRONT_END) -> None:
    """Refuses what could not be written, before work is done for it.

    Raises:
        RefusedError: no front end, or `out` holds something.
    """
    if not (front_end / SERVICE_WORKER).is_file():
        raise RefusedError(
            f"the tablet's site needs its built front end. Received: no {SERVICE_WORKER} in {front_end}. "
            "Run make tablet in a checkout, or install a wheel, which holds it"
        )
    refuse_taken(out)


def refuse_beforehand(
    out: Path,
    bundle: Path,
    build: BuildConfig,
    inputs: Collection[str],
    variants: Collection[str],
    *,
    int8_io: bool,
    front_end: Path = FRONT_END,
) -> None:
    """Refuses a site that could not be written of a bundle which is yet to be exported.

    Raises:
        RefusedError: as `write_site`, or `out` is the bundle or holds it.
    """
    refuse_unready(out, front_end)
    if out.resolve() in (bundle.resolve(), *bundle.resolve().parents):
        raise RefusedError(
            f"--tablet must be another folder than --out. Received: {str(out)!r} and {str(bundle)!r}. "
            "Choose another name"
        )
    refuse_unsupported(build, inputs)
    outside_float32 = [one for one in variants if one == "float32" or (one == "int8" and not int8_io)]
    if not outside_float32:
        raise _none_for_browsers(variants)


def _none_for_browsers(received: Collection[str]) -> RefusedError:
    return RefusedError(
        f"a tablet's site needs a file of {' or '.join(VARIANTS)} that takes and gives float32. "
        f"Received: {', '.join(received)}. Export the bundle with --variant {VARIANTS[0]}"
    )


def refuse_unsupported(build: BuildConfig, inputs: Collection[str]) -> None:
    """Refuses what the app cannot compute as Python does.

    Raises:
        RefusedError: other networks than MediaPipe's, another flow than Farneback's, or joints as input.
    """
    wrong = [f"{section}.method {getattr(build, section).method}" for section in build.network_sections]
    if build.flow.method == "dis":
        wrong.append("flow.method dis")
    wrong += [f"input {name}" for name in inputs if name not in INPUTS]
    if wrong:
        raise RefusedError(
            "a tablet's site needs a bundle of MediaPipe's pose, Farneback's flow and the inputs "
            f"{', '.join(INPUTS)}. Received: {', '.join(wrong)}. Train on such a data set, or use "
            "tfgma predict"
        )


def _pose_networks(description: BundleDescription) -> tuple[dict[str, bytes], dict[str, str | None]]:
    """The pose networks' files, and which is which."""
    task, careful = pose_models(description.build)
    files, pose = {}, dict.fromkeys((*NETWORKS, "careful"))
    with zipfile.ZipFile(task) as archive:
        for role, name in NETWORKS.items():
            if name in archive.namelist():
                files[name], pose[role] = archive.read(name), name
    if careful is not None:
        files[CAREFUL], pose["careful"] = careful.read_bytes(), CAREFUL
    return files, pose


def _stamp(site: Path) -> None:
    """Lists the site's files and gives its service worker their hash: browsers notice every change by it."""
    files = sorted(path for path in site.rglob("*") if path.is_file() and path.name != SERVICE_WORKER)
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(site).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    worker = site / SERVICE_WORKER
    text = worker.read_text(encoding="utf-8")
    digest.update(text.encode())
    version = digest.hexdigest()[:16]
    worker.write_text(text.replace(VERSION_PLACE, version), encoding="utf-8")
    names = [path.relative_to(site).as_posix() for path in files]
    _write_json(site / PRECACHE_FILE, {"version": version, "files": names})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


class SiteHandler(SimpleHTTPRequestHandler):
    """Gives a site's files with the headers that keep requests at home and allow threads."""

    def end_headers(self) -> None:
        """Adds the headers."""
        path = self.path.partition("?")[0]
        needs_eval = path.rpartition("/")[2] == "worker.js"
        scripts = "script-src 'self' 'wasm-unsafe-eval'" + (" 'unsafe-eval'" if needs_eval else "")
        self.send_header("Content-Security-Policy", POLICY + scripts)
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Gives a file; a browser that goes away meanwhile is no error."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            super().copyfile(source, outputfile)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


SiteHandler.extensions_map = SimpleHTTPRequestHandler.extensions_map | {
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}


def site_server(site: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of a site for this machine alone, not yet serving; port 0 takes a free one.

    Raises:
        RefusedError: the port is taken.
    """
    handler = functools.partial(SiteHandler, directory=str(site))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise RefusedError(
            f"--port must be free. Received: {port} ({error.strerror}). Name another, or 0 for any"
        ) from error
