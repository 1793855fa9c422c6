"""Command that converts published checkpoints."""

from __future__ import annotations

from pathlib import Path

import click

from tfgma.cli.console import print_json, print_table
from tfgma.cli.data import JSON, PATH


@click.command("convert-weights")
@click.argument("checkpoint", type=PATH, required=False)
@click.option("--network", metavar="NAME", help="The published network, as --list names it.")
@click.option("--out", type=PATH, help="The .keras file to write; it must not exist.")
@click.option(
    "--option", "options", multiple=True, metavar="ARG=VALUE", help="A builder's argument; see --list."
)
@click.option("--list", "show", is_flag=True, help="Show all networks, their arguments and defaults.")
@JSON
def convert_weights(
    checkpoint: Path | None,
    network: str | None,
    out: Path | None,
    options: tuple[str, ...],
    show: bool,
    as_json: bool,
) -> None:
    """Convert a published checkpoint to Keras; nothing in the file is ever run.

    Reads PyTorch state dicts (.pth, .pth.tar, .pyth, .pt), .npz and .safetensors with the published names.
    OpenPose's weights are for non-commercial use, converted or not.

    \b
    Example:
      tfgma convert-weights resnet50.pth --network resnet50 --out resnet50.keras
      tfgma convert-weights slow.pyth --network slow_r50 --out slow.keras --option frames_shape=8,224,224,3
    """
    if show:
        _list(as_json)
        return
    if checkpoint is None or network is None or out is None:
        raise click.UsageError("CHECKPOINT, --network and --out are needed, or --list alone.")
    from tfgma.weights.convert import convert

    written = convert(checkpoint, network, out, options)
    if as_json:
        print_json(written)
    else:
        click.echo(f"{network}: {written['parameters']:,} parameters in {written['file']}")


def _list(as_json: bool) -> None:
    from tfgma.models.catalogue import NETWORKS

    def lengths(shape: tuple[int, ...]) -> str:
        return ",".join(map(str, shape))

    if as_json:
        print_json(
            {
                name: {
                    "options": {f"{key}_shape": lengths(shape) for key, shape in one.shapes.items()}
                    | one.settings
                    | ({"num_classes": "the checkpoint's"} if one.head else {}),
                    "source": one.source,
                    "checkpoint": one.checkpoint,
                }
                for name, one in NETWORKS.items()
            }
        )
        return
    rows = []
    for name, one in NETWORKS.items():
        defaults = [f"{key}_shape={lengths(shape)}" for key, shape in one.shapes.items()]
        defaults += [f"{key}={value}" for key, value in one.settings.items()]
        rows.append([name, " ".join(defaults), one.source, one.checkpoint])
    print_table("Networks", ["name", "options and their defaults", "source", "checkpoint"], rows)
