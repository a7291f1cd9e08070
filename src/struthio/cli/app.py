"""The commands by name, and what becomes of a mistake: one line, no traceback, exit status 2."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, get_args

from cyclopts import App, CycloptsError, Parameter, Token, convert

from struthio._version import __version__
from struthio.checks import UserError
from struthio.cli import terminal

ABOUT = "The workbench for adversarial robustness in PyTorch."
BEGIN = 'Begin with: struthio attack data:chelsea.png --to "common iguana" -o demo'

USAGES = {
    "attack": """\
Usage: struthio attack PICTURE... --to CLASS [OPTIONS]
       struthio attack --model SPEC --data SPEC --threat SPEC [OPTIONS]
       struthio attack --endpoint URL --data SPEC --threat SPEC [OPTIONS]
       (--via SPEC searches on a model of your own in place of the one attacked)
""",
    "certify": """\
Usage: struthio certify NET.onnx PROPERTY.vnnlib [--timeout S] [-o FILE]
       struthio certify MODEL --data SPEC --threat SPEC [OPTIONS]
""",
}
COMMANDS = {  # by name: where it is, and what the list of commands says of it
    "attack": ("attack:attack", "Attack pictures, or a model over a data set."),
    "audit": ("audit:audit", "How robust a model is, with bounds and doubts."),
    "certify": ("certify:certify", "Prove what no attack can change."),
    "gauntlet": ("gauntlet:gauntlet", "Many defences on one board, attacked and audited."),
    "harden": ("harden:harden", "Train a model that holds, from a recipe file."),
    "list": ("listing:list_", "Attacks, threats, models, data, defenses and more."),
    "show": ("showing:show", "How an attack, a defence or a recipe is used."),
    "transfer": ("transfer:transfer", "How far inputs made for one model fool others."),
    "universal": ("universal:universal", "One change for many inputs, judged on others."),
}


def make_app(listing: bool = False) -> App:
    """The commands, each imported when it is called.

    `listing` says a line of each where they are listed; this would stand in place of a command's own help.
    """
    app = App(
        name="struthio",
        help=ABOUT,
        help_epilogue=BEGIN,
        help_format="plaintext",  # the others load a Markdown reader, a third of the time of --help
        version=__version__,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(converter=_read),
    )
    for name, (place, line) in COMMANDS.items():
        app.command(f"struthio.cli.{place}", name=name, usage=USAGES.get(name), help=line if listing else None)
    app.register_install_completion_command()
    return app


def _read(kind: Any, tokens: Sequence[Token]) -> Any:
    """A value as the parser reads it; but it takes 1.5 for the whole number 2, and that is a mistake here."""
    if int in (kind, *get_args(kind)) and any("." in token.value for token in tokens):
        raise ValueError("a whole number is needed.")
    return convert(kind, tokens)


def run(arguments: list[str]) -> int:
    """Run one command line and give its exit status."""
    try:
        listing = not arguments or arguments[0] in ("--help", "-h")
        return make_app(listing)(arguments) or 0
    except CycloptsError as error:
        terminal.error(f"{error} Try --help.")
    except UserError as error:
        terminal.error(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        terminal.error(f"the disk is full ({error}). What was written before is kept.")
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 2
    except KeyboardInterrupt:
        terminal.error("stopped.")
        return 130
    return 2
