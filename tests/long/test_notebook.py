"""docs/first_hour.ipynb: its cells run one after the other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


def test_the_notebook_runs(tmp_path):
    notebook = json.loads((ROOT / "docs" / "first_hour.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    # Training starts processes of its own, which must not run the cells again.
    body = "\n".join(cells).replace("\n", "\n    ")
    (tmp_path / "cells.py").write_text(f'if __name__ == "__main__":\n    {body}\n')
    done = subprocess.run(
        [sys.executable, "cells.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = tmp_path / "tfgma_notebook"
    for name in (
        "contact_sheet.png",
        "run/report.html",
        "bundle/model_float32.tflite",
        "why/explanation.html",
    ):
        assert (made / name).is_file(), name
