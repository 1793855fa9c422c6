"""Commands about this machine: doctor."""

from __future__ import annotations

import click

from pipelines.schema import RefusedError
from tfgma.cli.console import print_json
from tfgma.cli.data import JSON

COLORS = {"good": "green", "missing": "yellow", "bad": "red"}


@click.command()
@click.option("--self-test/--no-self-test", default=True, help="Turn a generated video into clips.")
@JSON
def doctor(self_test: bool, as_json: bool) -> None:
    """Look whether this machine has what tfgma needs; of what it lacks stands what to do.

    \b
    Example:
      tfgma doctor
    """
    from tfgma.doctor import BAD, checks

    found = []
    for one in checks(self_test=self_test):
        found.append(one)
        if not as_json:
            click.echo(f"{click.style(f'{one.state:8}', fg=COLORS[one.state])}{one.name}: {one.found}")
            if one.remedy:
                click.echo(f"        to do: {one.remedy}")
    if as_json:
        print_json({"checks": [one.as_json() for one in found]})
    bad = [one.name for one in found if one.state == BAD]
    if bad:
        raise RefusedError(f"this machine must be mended. Received: {', '.join(bad)}. Do what stands there")
