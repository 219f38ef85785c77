"""Command line: parses, calls, prints. What costs time to import is imported where it is used."""

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
from sweepengine.cli.slo import slo
from sweepengine.cli.validate import validate
from sweepengine.data.errors import InputError
from sweepengine.data.files import MODEL_SCHEMA_VERSION
from sweepengine.engine import interrupts
from sweepengine.grid.columns import SCHEMA_VERSION
from sweepengine.show.terminal import say
from sweepengine.version import __version__

QUESTIONS = {
    "Ask: what it costs, how fast it runs, what to buy": (
        "fit", "deploy", "map", "slo", "explain", "explore"),
    "Sweep: every point of a grid": ("plan", "run", "query", "report", "design"),
    "Prove: beside torch, beside silicon": ("validate", "compare"),
    "Extend: what is known, and your own": ("models", "devices", "calibrate"),
}  # fmt: skip
"""Commands by the question that they answer, as help lists them."""
WIDEST = 200
"""Characters of what help says of a command in its list."""
FIRST = ("deepseek-ocr-3b", "h100-sxm")
"""Model and device of the card that stands where nothing was asked."""


class StoppedError(Exception):
    """A signal asked the command to end; click would write an empty line for it."""


class ReadEnoughError(Exception):
    """Whoever reads the output has closed it, as `head` does."""


class _Commands(click.Group):
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands by the question that they answer."""
        for question, names in QUESTIONS.items():
            with formatter.section(question):
                formatter.write_dl(
                    [(name, self.commands[name].get_short_help_str(WIDEST)) for name in names]
                )

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
    commands=[plan, run, query, slo, fit, deploy, limits_map, design, compare, report, explain,
              explore, devices, models, validate, calibrate],
    invoke_without_command=True,
    epilog="sweepengine COMMAND --help has the options of a command, and an example.",
)  # fmt: skip
@click.version_option(
    __version__,
    prog_name="sweepengine",
    message=f"%(prog)s %(version)s, model schema {MODEL_SCHEMA_VERSION}, "
    f"dataset schema {SCHEMA_VERSION}",
)
@click.pass_context
def commands(ctx: click.Context) -> None:
    """Say what a model will cost, how fast it will run, and what to buy.

    Exact counts of any decoder that Hugging Face describes and of DeepSeek-OCR, times within a few
    percent of measured kernels, for one point or for millions.

    MODEL is a shipped name, a TOML file, a config.json or its folder; GRID a grid file, or the stem
    of a shipped one such as capacity. Without a command: the card of a model on a device.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(fit, model=FIRST[0], devices=(FIRST[1],))
        say(f"this is: sweepengine fit {FIRST[0]} --device {FIRST[1]}; sweepengine --help has more")


def _line(message: str, code: int) -> int:
    """Say one line on stderr; the exit status."""
    say(f"sweepengine: {' '.join(message.split())}", error=True)
    return code


def main() -> None:
    """Run the command line; every problem is one line on stderr."""
    open_streams()
    try:
        with interrupts.watched():
            code = _status()
    except KeyboardInterrupt:  # between the command's end and ours
        code = _interrupted()
    finally:
        gc.freeze()  # else the interpreter looks through all that was compiled before it ends
    if interrupts.status():
        os._exit(code)  # threads that still work would find the interpreter gone
    if code:
        sys.exit(code)


def _status() -> int:
    """Run the command; its exit status, whatever went wrong said in one line."""
    try:
        check_environment()
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
    """Say in one line what is wrong; the exit status. What is no user's doing is raised again."""
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
            reason = str(error) or "the machine has no more for this process"
            return _line(f"out of memory: {reason}; files that are complete stay", 2)
        case ValueError() if "null byte" in str(error):
            return _line("a path holds a null byte: expected one without", 2)
        case RuntimeError() if "start new thread" in str(error):
            return _line(f"system: {error}: expected a higher limit of processes (ulimit -u)", 2)
    raise error


def _interrupted() -> int:
    return _line("interrupted", interrupts.status() or 128 + signal.SIGINT)
