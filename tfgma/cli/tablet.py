"""Commands for tablets: the site that runs a bundle in a browser."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from tfgma.cli.console import print_json
from tfgma.cli.data import JSON, PATH


@click.group()
def tablet() -> None:
    """A site that runs a bundle on a tablet, in the browser, offline."""


@tablet.command()
@click.argument("bundle", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder of the static site; must not exist.")
@JSON
def site(bundle: Path, out: Path, as_json: bool) -> None:
    """Write the site of an exported bundle, to put on any web server with https.

    \b
    Example:
      tfgma tablet site saved_models/mine --out site
    """
    from tfgma.tablet_site import write_site

    written = write_site(bundle, out)
    if as_json:
        print_json({"out": str(out), **written})
        return
    click.echo(
        f"{out}: {written['name']}, {', '.join(written['variants'])}. Try it: tfgma tablet serve {bundle}"
    )


@tablet.command()
@click.argument("bundle", type=PATH)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one."
)
def serve(bundle: Path, port: int) -> None:
    """Try a bundle's site on this machine alone, until Ctrl-C.

    \b
    Example:
      tfgma tablet serve saved_models/mine
    """
    from tfgma.tablet_site import site_server, write_site

    with tempfile.TemporaryDirectory() as folder:
        written = write_site(bundle, Path(folder) / "site")
        with site_server(Path(folder) / "site", port) as server:
            click.echo(f"{written['name']}: http://127.0.0.1:{server.server_address[1]}/ until Ctrl-C")
            server.serve_forever()
