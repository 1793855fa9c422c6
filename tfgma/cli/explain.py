"""The command that explains an answer."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.files import refuse_taken
from tfgma.backends import BACKENDS, choose_backend
from tfgma.cli.console import print_json, print_table, progress_bar
from tfgma.cli.data import JSON, PATH


@click.command()
@click.argument("run", type=PATH)
@click.argument("video", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder for the page, its figures and arrays.")
@click.option("--fold", type=int, help="Whose network; default one that has not seen the video's subject.")
@click.option("--class", "explained", help="What is explained; default the most probable class.")
@click.option(
    "--clips",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Clips of which pixels and joints are explained.",
)
@click.option("--backend", type=click.Choice(BACKENDS), help="What computes.  [default: tensorflow]")
@JSON
def explain(
    run: Path,
    video: Path,
    out: Path,
    fold: int | None,
    explained: str | None,
    clips: int,
    backend: str | None,
    as_json: bool,
) -> None:
    """Show which parts of the body, seconds, pixels and joints of a video a network's answer rests on.

    \b
    Example:
      tfgma explain run infant.mp4 --out why
      tfgma explain run infant.mp4 --out why_not --class FMs
    """
    if backend is not None:
        choose_backend(backend)
    from tfgma.body_parts import PARTS
    from tfgma.explanation import explain as explain_video
    from tfgma.explanation_page import PAGE, write_explanation
    from tfgma.runs import read_run, study_of

    refuse_taken(out)
    with progress_bar("explain", lines=True) as tell:
        found = explain_video(run, video, fold=fold, explained=explained, maps=clips, progress=tell)
    write_explanation(out, found, study_of(read_run(run)).inputs)
    if as_json:
        print_json(found.as_json() | {"out": str(out)})
        return
    rows = [
        [name.replace("_", " "), f"{effect:+.2f}"]
        for name, effect in zip(PARTS, found.part_effects.mean(axis=0), strict=True)
    ]
    p = found.probabilities[found.number]
    print_table(
        f"{video}: {found.explained} {p:.2f}; evidence lost without a part of the body",
        ["part", "nats"],
        rows,
    )
    if found.seen_in_training:
        click.echo("the network was trained on this subject")
    click.echo(f"page: {out / PAGE}\nResearch use only.")
