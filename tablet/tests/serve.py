"""Serves a site as `tfgma tablet serve` does: python tablet/tests/serve.py SITE PORT."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tfgma.tablet_site import site_server

if __name__ == "__main__":
    site_server(Path(sys.argv[1]), int(sys.argv[2])).serve_forever()
