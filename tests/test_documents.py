"""What the documents tell users to type and to read is there; tests/long runs a whole page."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.marks import usual_and_thorough
from tfgma.cli.main import cli
from tfgma.config import load_study

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGE = ROOT / "docs" / "study.md"
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def blocks(document, language="bash"):
    """The blocks of a document that are meant to be run."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def commands(document):
    """The arguments of each `tfgma ...` in the document's blocks, indented or fenced."""
    indented = re.findall(r"^    (.*\n)", document.read_text(), re.MULTILINE)
    lines = "".join([*indented, *blocks(document)]).replace("\\\n", " ").splitlines()
    found = [re.match(r"(?:\w+=\S+ )*tfgma (.*)$", line) for line in lines]
    return [shlex.split(one[1].removesuffix("&"), comments=True) for one in found if one]


def parsed(arguments):
    """The command's parameters as click reads them; raises what a user would be told."""
    return cli.commands[arguments[0]].make_context(arguments[0], arguments[1:]).params


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_command_in_the_documents_is_one(document):
    for arguments in commands(document):
        parsed(arguments)


def test_that_can_fail(tmp_path):
    (tmp_path / "page.md").write_text("Text\n\n```bash\nFOO=1 tfgma train --dta x \\\n  --out y &\n```\n")
    (arguments,) = commands(tmp_path / "page.md")
    assert arguments == ["train", "--dta", "x", "--out", "y"]
    with pytest.raises(Exception, match="No such option"):
        parsed(arguments)
    assert len(commands(PAGE)) >= 10


def test_the_settings_of_the_study_page_are_settings(tmp_path):
    (settings,) = [block for block in blocks(PAGE) if "study.yaml <<" in block]
    subprocess.run(["bash", "-euc", settings], cwd=tmp_path, check=True)
    for arguments in commands(PAGE):
        given = parsed(arguments)
        if "config" in given:
            assert given["config"] in (Path("study.yaml"), None)
            load_study(tmp_path / "study.yaml", given["overrides"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_link_between_documents_leads_somewhere(document):
    text = re.sub(r"^    .*|`[^`\n]*`", "", document.read_text(), flags=re.MULTILINE)
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []


WITH_A_BUNDLE = {"export.md"}
"""Run by tests that have one: see `run_with`."""
RUN_HERE = [one for one in DOCUMENTS if blocks(one, "python") and one.name not in WITH_A_BUNDLE]
FOR_USERS = [one for one in RUN_HERE if one.parent.name != "contributing"]


def run_with(bundle, name, folder):
    """Runs the blocks of docs/export.md that use `saved_models/NAME`, which is `bundle`; what they print."""
    (folder / "saved_models").mkdir()
    (folder / "saved_models" / name).symlink_to(bundle)
    used = [one for one in blocks(ROOT / "docs" / "export.md", "python") if f"saved_models/{name}" in one]
    assert used
    (folder / "page.py").write_text("\n".join(used))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("document", usual_and_thorough(RUN_HERE, FOR_USERS, name=lambda path: path.name))
def test_the_python_of_a_document_runs(document, tmp_path):
    """All blocks one after the other, in an empty folder; they assert what the page says."""
    (tmp_path / "page.py").write_text("\n".join(blocks(document, "python")))
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_pages_are_made_without_a_warning(tmp_path):
    """Links, anchors, docstrings; every page stands in the navigation."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "api.html").read_text().count('class="doc doc-heading"') > 20
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(DOCUMENTS) - 2
    foreign = {
        link for page in pages for link in re.findall(r'(?:src|href)="(https?://[^"]+)"', page.read_text())
    }
    assert {link for link in foreign if not link.startswith("https://squidfunk.github.io/")} == set()


def test_the_errors_of_the_troubleshooting_page_are_those_of_the_code():
    sources = " ".join(
        path.read_text() for root in ("tfgma", "pipelines") for path in sorted((ROOT / root).rglob("*.py"))
    )
    # Sentences are written over several lines of the code.
    spoken = re.sub(r'"\s+f?"', "", sources)
    table = [
        line
        for line in (ROOT / "docs" / "troubleshooting.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    said = [words for line in table for words in re.findall(r"`([^`]+)`", line.split(" | ")[0])]
    assert len(said) > 40
    assert [words for words in said if words not in spoken] == []
