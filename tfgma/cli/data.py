"""Commands of the data side: synthesize, preview, build-tfrecords, inspect."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipelines.schema import RefusedError
from tfgma.cli.console import print_json, print_table, progress_bar

PATH = click.Path(path_type=Path)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="Processes.",
)
QUALITY_COLUMNS = (
    ("body_share", "body found", True),
    ("visible", "limbs inside", True),
    ("mask_certainty", "outline certain", True),
    ("sharpness", "sharp", False),
    ("brightness", "light", False),
    ("other_people", "others", True),
    ("hands", "hands", True),
    ("camera_speed", "camera", False),
)
"""Figures of a video in dataset.json (pipelines.quality), their titles, whether they are shares of one."""

JSON = click.option("--json", "as_json", is_flag=True, help="Print one machine-readable object.")


@click.command()
@click.argument("out", type=PATH)
@click.option("--subjects", type=int, help="Infants, dealt to the classes in turn.")
@click.option("--seconds", type=float, show_default="20", help="Length of each video.")
@click.option(
    "--motion",
    type=PATH,
    metavar="POSES",
    help="Recorded joints to re-animate: DeepLabCut .csv or .h5, a folder of OpenPose JSON, a .npy of poses "
    "(T, 33, 3) or of STAM, or a folder CLASS/SUBJECT/ or manifest of such.",
)
@click.option("--motion-fps", type=float, show_default="30", help="Frames a second of POSES.")
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
    subjects: int | None,
    seconds: float | None,
    motion: Path | None,
    motion_fps: float | None,
    seed: int,
    ground_truth: bool,
    overrides: tuple[str, ...],
    workers: int,
    as_json: bool,
) -> None:
    """Generate videos of infants with known movement into OUT/CLASS/SUBJECT/video.mp4.

    With --motion a generated infant makes the movement of recorded joints, so that it can be shown without
    the child: OUT/NAME.mp4 for one recording, the layout above for a folder or manifest with classes.

    \b
    Example:
      tfgma synthesize videos --subjects 12 --seconds 20 --seed 7
      tfgma synthesize shown --motion keypoints.csv --motion-fps 25
    """
    from pipelines.config import parse_overrides, parse_settings
    from pipelines.schema import RefusedError
    from pipelines.synthetic import SyntheticSettings, generate

    values: dict[str, Any] = {"ground_truth": True} if ground_truth else {}
    if motion is not None:
        from pipelines.reanimate import DEFAULTS, reanimate

        given = {"--subjects": subjects, "--seconds": seconds}
        clash = [f"{name} {value}" for name, value in given.items() if value is not None]
        if clash:
            raise RefusedError(
                f"--motion takes number and length from the recordings. Received: {' and '.join(clash)} "
                "as well. Leave one or the other away"
            )
        settings = parse_settings(
            parse_overrides({**DEFAULTS, **values}, overrides), SyntheticSettings, "--set"
        )
        with progress_bar("synthesize") as tell:
            shown = reanimate(
                motion,
                out,
                settings,
                fps=30.0 if motion_fps is None else motion_fps,
                seed=seed,
                workers=workers,
                progress=lambda done, total: tell(done, total, ""),
            )
        if as_json:
            print_json({"out": str(out), "videos": [asdict(one) for one in shown]})
            return
        for one in shown:
            click.echo(f"{out / one.video}: {one.seconds:.1f} s")
            for part, length in one.seconds_at_rest.items():
                click.echo(
                    f"  {part} not seen for {length:.1f} s: shown {'still' if part == 'trunk' else 'at rest'}"
                )
        return
    if motion_fps is not None:
        raise RefusedError(
            f"--motion-fps belongs to --motion. Received: {motion_fps:g} without it. Name the recorded joints"
        )
    if subjects is None:
        raise click.UsageError("Missing option '--subjects' (or '--motion').")
    settings = parse_settings(parse_overrides(values, overrides), SyntheticSettings, "--set")
    seconds = 20.0 if seconds is None else seconds
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


@click.command()
@click.argument("source", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder for the masks and sheets.")
@click.option("--config", type=PATH, help="A study's YAML file; its section `build` counts.")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Overrides the config.")
@click.option(
    "--box", metavar="LEFT,TOP,WIDTH,HEIGHT", help="Where the subject is, as shares 0 to 1 of the frame."
)
@JSON
def preview(
    source: Path, out: Path, config: Path | None, overrides: tuple[str, ...], box: str | None, as_json: bool
) -> None:
    """Show masks, joints and quality of videos or pictures before hours of work.

    SOURCE is a video, a picture, a manifest, or a folder. Each gets NAME_mask.png (255 on the body) and
    NAME_sheet.png (frame, mask, joints, body upright), and is called assessable or not, with the reasons.

    \b
    Example:
      tfgma preview videos --out build/preview
    """
    from pipelines.manifest import parse_box
    from pipelines.tools import ONE_VIDEO_THREADS
    from tfgma.chosen_tools import chosen_tools
    from tfgma.config import load_study
    from tfgma.preview import write_previews

    build = load_study(config, overrides).build
    place = parse_box(box, "--box") if box else None
    make_tools = chosen_tools(build)
    with make_tools(build, ONE_VIDEO_THREADS) as tools, progress_bar("preview") as tell:
        items = write_previews(source, out, build, tools.finder, box=place, progress=tell)
    if as_json:
        print_json({"out": str(out), "items": [item.as_json() for item in items]})
        return
    columns = [("body", "body found", True), *QUALITY_COLUMNS[1:]]
    rows = [
        [
            item.source.name,
            item.verdict.replace("_", " "),
            *(_shown(getattr(item.figures, name), as_share) for name, _, as_share in columns),
            "; ".join(item.reasons),
        ]
        for item in items
    ]
    header = ["source", "verdict", *(title for _, title, _ in columns), "reasons"]
    print_table(f"{len(items)} items, sheets in {out}", header, rows)


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
@click.option(
    "--modalities",
    metavar="LIST",
    help="What of the clips is written, of rgb,flow,pose (build.modalities in the config; default all). "
    "flow,pose writes no pixel of any frame.",
)
@click.option(
    "--deidentify",
    is_flag=True,
    help="A copy to share: faces are blanked in every frame, names become pseudonyms, audio, metadata and "
    "further columns stay away. Class, split, start, end, box, age_weeks, flow and joints stay. "
    "OUT/deidentification.json says what was removed. Needs --key.",
)
@click.option(
    "--key",
    type=PATH,
    metavar="FILE",
    help="Secret key of the pseudonyms, outside SOURCE and --out; made if missing. Equal keys give equal "
    "pseudonyms; who has it can tell whose clips they are.",
)
@JSON
def build_tfrecords(
    source: Path,
    out: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    workers: int,
    scheduler: str | None,
    modalities: str | None,
    deidentify: bool,
    key: Path | None,
    as_json: bool,
) -> None:
    """Turn the videos of SOURCE into TFRecords of upright, cut-out bodies and their optical flow.

    SOURCE is a folder CLASS/SUBJECT/*.mp4 or a CSV manifest with the columns video, subject, label. In place
    of videos there may be joints for pose networks: DeepLabCut's .csv or .h5, OpenPose's folders of JSON, or
    a folder in STAM's layout.

    \b
    Example:
      tfgma build-tfrecords videos --out dataset --config configs/demo.yaml
      tfgma build-tfrecords videos --out shared --modalities flow,pose --deidentify --key ~/keys/study
    """
    from pipelines.build import BuildReport, build_dataset
    from tfgma.chosen_tools import chosen_tools
    from tfgma.config import load_study

    if modalities is not None:
        overrides += (f"build.modalities=[{modalities}]",)
    if deidentify:
        overrides += ("build.deidentify=true",)
    study = load_study(config, overrides)
    make_tools = chosen_tools(study.build)
    report = BuildReport()
    with progress_bar("build") as tell:
        index = build_dataset(
            source,
            out,
            study.build,
            workers=workers,
            scheduler=scheduler,
            key_file=key,
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
    if key is not None:
        click.echo(f"what was removed: {out / 'deidentification.json'}; keep {key} to yourself")
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
@click.option(
    "--verify", is_flag=True, help="Read every record instead, and name each shard that is damaged."
)
@JSON
def inspect(dataset: Path, picture: Path | None, verify: bool, as_json: bool) -> None:
    """Show what a data set holds: a table, recordings that stand there twice, a contact sheet as a picture.

    With --verify, read all of it and compare it with dataset.json; a shard that is damaged, missing, or of
    another video is named, and the exit status is 1.

    \b
    Example:
      tfgma inspect dataset
      tfgma inspect dataset --verify --json
    """
    from dataclasses import asdict

    from pipelines.build import read_index

    if verify and picture:
        raise click.UsageError("--picture and --verify exclude each other")
    index = read_index(dataset)
    if verify:
        _verify(dataset, index, as_json)
        return
    from pipelines.duplicates import same_recordings
    from tfgma.inspection import write_contact_sheet

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
            f"{entry['clips']} of {entry['clips'] + entry['clips_left_out']}",
            *(_shown(entry["quality"].get(name), as_share) for name, _, as_share in QUALITY_COLUMNS),
            entry["left_out"] or entry["quality"]["damaged"] or "",
        ]
        for entry in index["videos"]
    ]
    columns = [title for _, title, _ in QUALITY_COLUMNS]
    header = ["video", "subject", "class", "seconds", "clips", *columns, "note"]
    print_table(f"{dataset}: classes {', '.join(index['classes'])}", header, rows)
    for one in same:
        names = " and ".join(f"{video} of {who}" for video, who in zip(one.videos, one.subjects, strict=True))
        click.echo(f"one recording under two names: {names}, {one.why}")
    click.echo(f"contact sheet: {sheet}" if sheet else "no clips to show")


def _shown(value: float | None, as_share: bool) -> str:
    """A figure of quality; a dash where there is none."""
    return "-" if value is None else f"{value:.0%}" if as_share else f"{value:.2f}"


def _verify(dataset: Path, index: dict[str, Any], as_json: bool) -> None:
    from pipelines.verify import verify_dataset

    with progress_bar("verify") as tell:
        found = verify_dataset(dataset, index, progress=tell)
    if as_json:
        print_json(
            {
                "verified": not found.problems,
                "shards": found.shards,
                "records": found.records,
                "problems": [{"shard": one.shard, "problem": one.problem} for one in found.problems],
            }
        )
    else:
        click.echo(f"{dataset}: {found.shards} shards, {found.records} records read")
        for one in found.problems:
            click.echo(f"{one.shard}: {one.problem}")
    if found.verdict:
        raise RefusedError(found.verdict)
