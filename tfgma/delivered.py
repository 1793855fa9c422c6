"""Where the studies' config files lie: in the checkout, or where an installation put them."""

from __future__ import annotations

import sysconfig
from pathlib import Path


def configs_folder(package: Path = Path(__file__).parent) -> Path:
    """The folder `configs`; `package` is the folder of tfgma."""
    checkout = package.parent / "configs"
    if (checkout / "demo.yaml").is_file():
        return checkout
    return Path(sysconfig.get_path("data")) / "share" / "tfgma" / "configs"
