"""Commands for a site that uses a network: monitor, adapt."""

from __future__ import annotations

from pathlib import Path

import click

from tfgma.bundle import ALL_VARIANTS
from tfgma.cli.console import print_json, print_table, progress_bar
from tfgma.cli.data import JSON, PATH


@click.command()
@click.argument("dataset", type=PATH)
@click.option("--against", "run", type=PATH, required=True, help="The run whose network is used.")
@click.option("--out", type=PATH, help="Folder for the page and its figures.")
@JSON
def monitor(dataset: Path, run: Path, out: Path | None, as_json: bool) -> None:
    """Compare new recordings with those a run was tested on: quality, posture, movement, answers.

    \b
    Example:
      tfgma monitor recordings_of_may --against run --out drift
    """
    from tfgma.monitoring import PAGE, write_comparison
    from tfgma.monitoring import monitor as compare_with_run

    with progress_bar("monitor") as tell:
        found = compare_with_run(dataset, run, progress=tell)
    if out:
        write_comparison(out, found, dataset, run)
    if as_json:
        print_json(found.as_json() | ({"out": str(out)} if out else {}))
        return
    rows = [
        [
            group,
            row.figure.replace("_", " "),
            f"{row.before[1]:.3g}",
            f"{row.now[1]:.3g}",
            f"{row.distance:.2f}",
            f"{row.adjusted:.3f}",
            "changed" if row.changed else "",
        ]
        for group, figures in found.rows.items()
        for row in figures
    ]
    title = f"{found.now} subjects against {found.before} test subjects of {run}"
    print_table(title, ["", "figure", "median before", "now", "distance", "p, of all", ""], rows)
    click.echo(f"changes of a distance under {found.least_distance:.2f} are not seen")
    if found.shared:
        click.echo(f"{found.shared} of these videos are in the run's own data set")
    if found.performance:
        for side, name in (("before", "the run's test subjects"), ("now", "these")):
            one = found.performance[side]
            low, high = one["interval"]
            click.echo(f"answered right, {name}: {one['accuracy']:.2f} ({low:.2f} to {high:.2f})")
        if found.performance["changed"]:
            click.echo(f"the share of right answers changed, p = {found.performance['p']:.2g}")
    if out:
        click.echo(f"page: {out / PAGE}")


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--data", "dataset", type=PATH, required=True, help="The site's data set, of known classes.")
@click.option("--out", type=PATH, required=True, help="Folder of the adapted bundle.")
@click.option("--variant", type=click.Choice(ALL_VARIANTS), default="float32", show_default=True)
@JSON
def adapt(bundle: Path, dataset: Path, out: Path, variant: str, as_json: bool) -> None:
    """Fit a bundle's temperature and threshold to 20 or more subjects of one's own site.

    \b
    Example:
      tfgma adapt saved_models/mine --data our_subjects --out saved_models/ours
    """
    from dataclasses import asdict

    from tfgma.adaptation import adapt as adapt_bundle

    with progress_bar("adapt") as tell:
        found = adapt_bundle(bundle, dataset, out, variant=variant, progress=tell)
    if as_json:
        print_json(asdict(found) | {"out": str(out)})
        return

    def between(ends: list[float] | None) -> str:
        return "" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"

    def figure(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    temperature = f"{found.temperature:.2f}" if found.fitted else "not fitted: all were answered right"
    rows = [
        ["accuracy here", figure(found.accuracy), "the same", between(found.accuracy_interval)],
        ["temperature", figure(found.temperature_before), temperature, between(found.temperature_interval)],
        ["log loss, by the others", f"{found.log_loss_before:.3f}", f"{found.log_loss_after:.3f}", ""],
        [
            "least probability of a possible class",
            figure(found.threshold_before),
            figure(found.threshold),
            "",
        ],
        ["class possible, here", figure(found.coverage_before), "", between(found.coverage_before_interval)],
        ["class possible, new subjects", "", "", between(found.coverage_expected)],
    ]
    print_table(f"{out}: fitted to {found.subjects} subjects", ["", "before", "now", "95 %"], rows)
