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
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="A Dask scheduler, such as tcp://host:8786: its workers do the work. SOURCE and --out must lie in "
    "folders that they share.",
)
@JSON
def build_tfrecords(
    source: Path,
    out: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    workers: int,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Turn the videos of SOURCE into TFRecords of upright, cut-out bodies and their optical flow.

    SOURCE is a folder CLASS/SUBJECT/*.mp4 or a CSV manifest with the columns video, subject, label. In place
    of videos there may be joints for pose networks: DeepLabCut's .csv or .h5, OpenPose's folders of JSON, or
    a folder in STAM's layout.

    \b
    Example:
      tfgma build-tfrecords videos --out dataset --config configs/demo.yaml
    """
    from pipelines.build import BuildReport, build_dataset
    from pipelines.tools import standard_tools
    from tfgma.config import load_study

    study = load_study(config, overrides)
    make_tools = standard_tools
    if study.build.network_sections:
        from tfgma.preprocessing import make_tools, refuse_unusable_weights

        refuse_unusable_weights(study.build)
    report = BuildReport()
    with progress_bar("build") as tell:
        index = build_dataset(
            source,
            out,
            study.build,
            workers=workers,
            scheduler=scheduler,
            make_tools=make_tools,
            progress=tell,
            report=report,
        )
    used = [entry for entry in index["videos"] if entry["shard"]]
    left_out = [entry for entry in index["videos"] if not entry["shard"]]
    damaged = [entry for entry in used if entry["quality"]["damaged"]]
    if as_json:
        print_json(
            {
                "out": str(out),
                "videos": len(used),
                "clips": sum(entry["clips"] for entry in used),
                "made": len(report.made),
                "kept": len(report.kept),
                "redone": report.redone,
                "removed": report.removed,
                "left_out": {entry["id"]: entry["left_out"] for entry in left_out},
                "damaged": {entry["id"]: entry["quality"]["damaged"] for entry in damaged},
            }
        )
        return
    click.echo(f"{len(used)} videos, {sum(entry['clips'] for entry in used)} clips in {out}")
    counts = {name: len(getattr(report, name)) for name in ("made", "kept", "redone", "removed")}
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()))
    for identifier, reason in report.redone.items():
        click.echo(f"redone {identifier}: {reason}")
    for identifier in report.removed:
        click.echo(f"removed {identifier}: no longer in the source")
    for entry in damaged:
        click.echo(f"damaged {entry['id']}: {entry['quality']['damaged']}; what decodes is used")
    for entry in left_out:
        click.echo(f"left out {entry['id']}: {entry['left_out']}")


@click.command()
@click.argument("dataset", type=PATH)
@click.option("--picture", type=PATH, help="Where the contact sheet goes; default DATASET/contact_sheet.png.")
@JSON
def inspect(dataset: Path, picture: Path | None, as_json: bool) -> None:
    """Show what a data set holds: a table, and a contact sheet as a picture.

    \b
    Example:
      tfgma inspect dataset
    """
    from pipelines.build import read_index
    from tfgma.inspection import write_contact_sheet

    index = read_index(dataset)
    sheet = write_contact_sheet(dataset, index, picture or dataset / "contact_sheet.png")
    if as_json:
        print_json({**index, "contact_sheet": str(sheet) if sheet else None})
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
    click.echo(f"contact sheet: {sheet}" if sheet else "no clips to show")
