"""What the documents tell users to type and to read is there; tests/long runs a whole page."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tfgma.cli.main import cli
from tfgma.config import load_study

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGE = ROOT / "docs" / "study.md"


def blocks(document):
    """The blocks of a document that are meant to be run."""
    return re.findall(r"^```bash\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def commands(document):
    """The arguments of each `tfgma ...` in the document's blocks, indented or fenced."""
    indented = re.findall(r"^    (.*\n)", document.read_text(), re.MULTILINE)
    lines = "".join([*indented, *blocks(document)]).replace("\\\n", " ").splitlines()
    found = [re.match(r"(?:\w+=\S+ )*tfgma (.*)$", line) for line in lines]
    return [shlex.split(one[1].removesuffix("&"), comments=True) for one in found if one]


def parsed(arguments):
    """The command's parameters as click reads them; raises what a user would be told."""
    return cli.commands[arguments[0]].make_context(arguments[0], arguments[1:]).params


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_between_documents_leads_somewhere(document):
    text = re.sub(r"^    .*|`[^`\n]*`", "", document.read_text(), flags=re.MULTILINE)
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []
