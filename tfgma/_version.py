"""The version of both packages, and the state of the source tree that they lie in."""

from __future__ import annotations

import subprocess
from pathlib import Path

__version__ = "0.1.0.dev0"


def git_state(folder: Path | None = None) -> str | None:
    """What `git describe` calls the checkout that `folder` (default: this one) is a part of.

    None of an installed package, also where it lies below somebody else's checkout, and without git.
    """
    package = Path(__file__).parent if folder is None else folder
    if not (package.parent / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=package,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return found.stdout.strip() or None
