"""Command line: parses, calls, prints. What costs time to import is imported where it is used."""

import gc
import sys
from typing import NoReturn

import click

from sweepengine import __version__
from sweepengine.cli.calibrate import calibrate
from sweepengine.cli.compare import compare
from sweepengine.cli.deploy import deploy
from sweepengine.cli.design import design
from sweepengine.cli.devices import devices
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
from sweepengine.data.files import MODEL_SCHEMA_VERSION
from sweepengine.grid.columns import SCHEMA_VERSION
from sweepengine.show.terminal import say


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[
        plan,
        run,
        query,
        slo,
        fit,
        deploy,
        limits_map,
        design,
        compare,
        report,
        explain,
        explore,
        devices,
        models,
        validate,
        calibrate,
    ],
)
@click.version_option(
    __version__,
    prog_name="sweepengine",
    message=f"%(prog)s %(version)s, model schema {MODEL_SCHEMA_VERSION}, "
    f"dataset schema {SCHEMA_VERSION}",
)
def commands() -> None:
    """What DeepSeek-OCR inference costs, over millions of workloads at once.

    GRID is a grid file, or the stem of a shipped one such as capacity.
    """


def _fail(message: str, code: int) -> NoReturn:
    say(f"sweepengine: {' '.join(message.split())}", error=True)
    sys.exit(code)


def main() -> None:
    """Run the command line; every problem is one line on stderr."""
    from sweepengine.data.errors import InputError

    try:
        commands.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message(), error=True)
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except InputError as error:
        _fail(str(error), 2)
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror or error}", 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    finally:
        gc.freeze()  # else the interpreter looks through all that was compiled before it ends
