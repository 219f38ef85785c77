"""The command line: parse, call, print. Slow imports stand inside the commands that need them."""

import gc
import os
import signal
import sys
from typing import Any

import click

from sweepengine.cli.calibrate import calibrate
from sweepengine.cli.compare import compare
from sweepengine.cli.deploy import deploy
from sweepengine.cli.design import design
from sweepengine.cli.devices import devices
from sweepengine.cli.environment import check_environment, open_streams
from sweepengine.cli.explain import explain
from sweepengine.cli.explore import explore
from sweepengine.cli.fit import fit
from sweepengine.cli.map import limits_map
from sweepengine.cli.models import models
from sweepengine.cli.plan import plan
from sweepengine.cli.query import query
from sweepengine.cli.report import report
from sweepengine.cli.run import run
from sweepengine.cli.schema import schema
from sweepengine.cli.slo import slo
from sweepengine.cli.validate import validate
from sweepengine.data.errors import InputError
from sweepengine.data.files import MODEL_SCHEMA_VERSION
from sweepengine.engine import interrupts, progress
from sweepengine.grid.columns import SCHEMA_VERSION
from sweepengine.show.progress import TerminalProgress
from sweepengine.show.terminal import say
from sweepengine.version import __version__

QUESTIONS = {
    "Ask: cost, speed, what to buy": (
        "fit", "deploy", "map", "slo", "explain", "explore"),
    "Sweep: every point of a grid": ("plan", "schema", "run", "query", "report",
                                      "design"),
    "Check: formulas against torch, times against measurements": ("validate", "compare"),
    "Extend: known models and devices, and your own": ("models", "devices", "calibrate"),
}  # fmt: skip
"""Commands by the question that they answer, in the order of `--help`."""
SUMMARY_WIDTH = 200
"""Most characters of a command's summary in the list of commands."""
EXAMPLE = ("deepseek-ocr-3b", "h100-sxm")
"""Model and device of the card that a call without a command prints."""


class StoppedError(Exception):
    """A signal ended the command; click would print an empty line for it."""


class ReadEnoughError(Exception):
    """The reader of the output has closed it, as `head` does."""


class _Commands(click.Group):
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each question of `QUESTIONS`."""
        for question, names in QUESTIONS.items():
            with formatter.section(question):
                formatter.write_dl(
                    [
                        (name, self.commands[name].get_short_help_str(SUMMARY_WIDTH))
                        for name in names
                    ]
                )

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except KeyboardInterrupt:
            raise StoppedError from None
        except BrokenPipeError:
            raise ReadEnoughError from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise StoppedError from None
        except BrokenPipeError:
            raise ReadEnoughError from None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[plan, schema, run, query, slo, fit, deploy, limits_map, design, compare, report,
              explain, explore, devices, models, validate, calibrate],
    invoke_without_command=True,
    epilog="sweepengine COMMAND --help lists the options of a command and gives an example.",
)  # fmt: skip
@click.version_option(
    __version__,
    prog_name="sweepengine",
    message=f"%(prog)s %(version)s, model schema {MODEL_SCHEMA_VERSION}, "
    f"dataset schema {SCHEMA_VERSION}",
)
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Predict what an LLM costs to run, how fast it runs, and what to buy.

    Counts FLOPs, bytes and memory exactly, for most decoders and vision-language models that
    Hugging Face describes. Predicts times, and states how far they were off on measured runs. For
    one workload or for millions.

    MODEL is a shipped name, a TOML file, a config.json or its folder, or a repository of the
    Hugging Face Hub whose config.json is in the local cache. GRID is a grid file, or the name of a
    shipped one such as capacity. Without a command: fit of a model on a device.
    """
    if ctx.invoked_subcommand is None:
        model, device = EXAMPLE
        ctx.invoke(fit, model=model, devices=(device,))
        say(f"printed by: sweepengine fit {model} --device {device}")
        say("all commands: sweepengine --help")


def _line(message: str, code: int) -> int:
    """Print one line to stderr and return the exit status, which is all where stderr is full."""
    interrupts.restore_stderr()
    try:
        say(f"sweepengine: {' '.join(message.split())}", error=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return code


def main() -> None:
    """Run the command line; every error is one line on stderr."""
    open_streams()
    try:
        with interrupts.watched():
            code = _status()
    except KeyboardInterrupt:  # after the command has ended
        code = _interrupted()
    finally:
        gc.freeze()  # else the interpreter scans all compiled code before it exits
    if interrupts.status():
        os._exit(code)  # running threads would crash while the interpreter shuts down
    if code:
        sys.exit(code)


def _status() -> int:
    """Run the command, print an error as one line, and return the exit status."""
    try:
        check_environment()
        with progress.heard_by(TerminalProgress()):
            commands.main(standalone_mode=False)
        interrupts.check()
        sys.stdout.flush()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        # An interrupt in the middle of an import can turn into any exception.
        return _interrupted() if interrupts.status() else _failed(error)
    return 0


def _failed(error: BaseException) -> int:
    """Print an error as one line and return the exit status; raise again what is a bug of ours."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            say(error.format_message(), error=True)
            return 2
        case click.ClickException():
            return _line(error.format_message(), 2)
        case InputError():
            return _line(str(error), 2)
        case click.Abort() | KeyboardInterrupt() | StoppedError():
            return _interrupted()
        case BrokenPipeError() | ReadEnoughError():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        case OSError():
            return _line(f"{error.filename or 'system'}: {error.strerror or error}", 2)
        case MemoryError():
            reason = str(error) or "this process can get no more"
            return _line(f"out of memory: {reason}; complete files are kept", 2)
        case ValueError() if "null byte" in str(error):
            return _line("a path contains a null byte: remove it", 2)
        case RuntimeError() if "start new thread" in str(error):
            return _line(f"system: {error}: raise the limit of processes (ulimit -u)", 2)
    raise error


def _interrupted() -> int:
    return _line("interrupted", interrupts.status() or 128 + signal.SIGINT)
