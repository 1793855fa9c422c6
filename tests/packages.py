"""The project's wheel and source archive, built from a copy of the checkout."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT = ("build", "node_modules", "*.egg-info", "__pycache__", ".git", ".venv*", ".*_cache", "saved_models")
BUILD = "import setuptools.build_meta as meta, sys; print(getattr(meta, sys.argv[1])(sys.argv[2]))"


def build(folder):
    """(wheel, source archive) in `folder`; the wheel is built from what the archive holds."""
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*LEFT))
    archive = folder / _made("build_sdist", folder, source)
    shutil.unpack_archive(archive, folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    return folder / _made("build_wheel", folder, unpacked), archive


def _made(hook, folder, source):
    done = subprocess.run(
        [sys.executable, "-c", BUILD, hook, str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
