"""Commands of the data side: synthesize, build-tfrecords, inspect."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tfgma.cli.console import print_json, print_table, progress_bar

PATH = click.Path(path_type=Path)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="Processes.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one machine-readable object.")


@click.command()
@click.argument("out", type=PATH)
@click.option("--subjects", type=int, required=True, help="Infants, dealt to the classes in turn.")
@click.option("--seconds", type=float, default=20.0, show_default=True, help="Length of each video.")
@click.option("--seed", type=int, default=0, show_default=True, help="Equal seeds give equal files.")
@click.option(
    "--ground-truth", is_flag=True, help="Also write masks and joints, truth.npz beside each video."
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A nuisance factor, such as shake_px=2."
)
@WORKERS
@JSON
def synthesize(
    out: Path,
    subjects: int,
    seconds: float,
    seed: int,
    ground_truth: bool,
    overrides: tuple[str, ...],
    workers: int,
    as_json: bool,
) -> None:
    """Generate videos of infants with known movement into OUT/CLASS/SUBJECT/video.mp4.

    \b
    Example:
      tfgma synthesize videos --subjects 12 --seconds 20 --seed 7
    """
    from pipelines.config import parse_overrides, parse_settings
    from pipelines.synthetic import SyntheticSettings, generate

    values = parse_overrides({"ground_truth": True} if ground_truth else {}, overrides)
    settings = parse_settings(values, SyntheticSettings, "--set")
    with progress_bar("synthesize") as tell:
        manifest = generate(
            out,
            settings,
            subjects=subjects,
            seconds=seconds,
            seed=seed,
            workers=workers,
            progress=lambda done, total: tell(done, total, ""),
        )
    if as_json:
        print_json({"out": str(out), "manifest": str(manifest), "subjects": subjects})
    else:
        click.echo(f"{subjects} videos of {seconds:g} s, listed in {manifest}")


@click.command("build-tfrecords")
@click.argument("source", type=PATH)
@click.option(
    "--out", type=PATH, required=True, help="The data set's folder; one of the same name is completed."
)
@click.option("--config", type=PATH, help="A study's YAML file; its section `build` counts.")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Overrides the config.")
@WORKERS
@JSON
def build_tfrecords(
    source: Path, out: Path, config: Path | None, overrides: tuple[str, ...], workers: int, as_json: bool
) -> None:
    """Turn the videos of SOURCE into TFRecords of upright, cut-out bodies and their optical flow.

    SOURCE is a folder CLASS/SUBJECT/*.mp4 or a CSV manifest with the columns video, subject, label. In place
    of videos there may be joints for pose networks: DeepLabCut's .csv or .h5, OpenPose's folders of JSON, or
    a folder in STAM's layout.

    \b
    Example:
      tfgma build-tfrecords videos --out dataset --config configs/demo.yaml
    """
    from pipelines.build import build_dataset
    from pipelines.tools import standard_tools
    from tfgma.config import load_study

    study = load_study(config, overrides)
    make_tools = standard_tools
    if study.build.network_sections:
        from tfgma.preprocessing import make_tools, refuse_unusable_weights

        refuse_unusable_weights(study.build)
    with progress_bar("build") as tell:
        index = build_dataset(source, out, study.build, workers=workers, make_tools=make_tools, progress=tell)
    used = [entry for entry in index["videos"] if entry["shard"]]
    left_out = [entry for entry in index["videos"] if not entry["shard"]]
    damaged = [entry for entry in used if entry["quality"]["damaged"]]
    if as_json:
        print_json(
            {
                "out": str(out),
                "videos": len(used),
                "clips": sum(entry["clips"] for entry in used),
                "left_out": {entry["id"]: entry["left_out"] for entry in left_out},
                "damaged": {entry["id"]: entry["quality"]["damaged"] for entry in damaged},
            }
        )
        return
    click.echo(f"{len(used)} videos, {sum(entry['clips'] for entry in used)} clips in {out}")
    for entry in damaged:
        click.echo(f"damaged {entry['id']}: {entry['quality']['damaged']}; what decodes is used")
    for entry in left_out:
        click.echo(f"left out {entry['id']}: {entry['left_out']}")


@click.command()
@click.argument("dataset", type=PATH)
@click.option("--picture", type=PATH, help="Where the contact sheet goes; default DATASET/contact_sheet.png.")
@JSON
def inspect(dataset: Path, picture: Path | None, as_json: bool) -> None:
    """Show what a data set holds: a table, recordings that stand there twice, a contact sheet as a picture.

    \b
    Example:
      tfgma inspect dataset
    """
    from dataclasses import asdict

    from pipelines.build import read_index
    from pipelines.duplicates import same_recordings
    from tfgma.inspection import write_contact_sheet

    index = read_index(dataset)
    same = same_recordings([entry for entry in index["videos"] if entry["shard"]])
    sheet = write_contact_sheet(dataset, index, picture or dataset / "contact_sheet.png")
    if as_json:
        twice = [asdict(one) for one in same]
        print_json({**index, "same_recordings": twice, "contact_sheet": str(sheet) if sheet else None})
        return
    rows = [
        [
            entry["id"],
            entry["subject"],
            entry["label"],
            f"{entry['seconds']:.1f}",
            str(entry["clips"]),
            f"{entry['quality']['body_share']:.0%}",
            entry["left_out"] or entry["quality"]["damaged"] or "",
        ]
        for entry in index["videos"]
    ]
    header = ["video", "subject", "class", "seconds", "clips", "body found", "note"]
    print_table(f"{dataset}: classes {', '.join(index['classes'])}", header, rows)
    for one in same:
        names = " and ".join(f"{video} of {who}" for video, who in zip(one.videos, one.subjects, strict=True))
        click.echo(f"one recording under two names: {names}, {one.why}")
    click.echo(f"contact sheet: {sheet}" if sheet else "no clips to show")
