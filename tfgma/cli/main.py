"""Entry point of the `tfgma` command."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import click

from pipelines.files import is_full
from pipelines.schema import RefusedError
from tfgma._version import __version__, git_state
from tfgma.cli.benchmark import benchmark
from tfgma.cli.console import silence_native_logs
from tfgma.cli.data import build_tfrecords, inspect, preview, synthesize
from tfgma.cli.explain import explain
from tfgma.cli.machine import doctor
from tfgma.cli.site import adapt, monitor
from tfgma.cli.study import compare, demo, evaluate, export, predict, train
from tfgma.cli.tablet import tablet
from tfgma.cli.weights import convert_weights


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, asked: _show_version(context) if asked else None,
    help="Show the version, and the checkout's git state, and exit.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks and the logs of native libraries.")
def cli(debug: bool) -> None:
    """Movement assessment from videos of lying infants. Research use only.

    \b
    Example:
      tfgma demo --out build/demo
    """


def _show_version(context: click.Context) -> None:
    state = git_state()
    click.echo(f"tfgma {__version__}" + (f" (git {state})" if state else ""))
    context.exit()


COMMANDS = (
    synthesize,
    preview,
    build_tfrecords,
    inspect,
    train,
    evaluate,
    compare,
    explain,
    export,
    predict,
    monitor,
    adapt,
    convert_weights,
    demo,
    doctor,
    benchmark,
    tablet,
)
for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Runs the command line: exit 0 done, 1 refused or failed with one sentence, 2 wrong usage."""
    debug = "--debug" in sys.argv
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if not debug:
        silence_native_logs()
        os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
        # Libraries warn users of their own deprecations; tests run with warnings shown.
        warnings.simplefilter("ignore")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        _end("stopped on request; nothing half-written is left", 1)
    except click.ClickException as error:
        error.show()
        _end("", error.exit_code)
    except RefusedError as error:
        if debug:
            raise
        _end(f"tfgma: {error}", 1)
    except Exception as error:
        if debug:
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        if is_full(error):
            _end(f"tfgma: the disk must have room. Received: {reason[0]}. Make room, then repeat", 1)
        _end(f"tfgma: failed unexpectedly: {type(error).__name__}: {reason[0]}. Repeat with tfgma --debug", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _end(message: str, code: int) -> None:
    if message:
        print(message, file=sys.stderr)
    sys.exit(code)
