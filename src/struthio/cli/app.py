"""The commands by name, and what becomes of a mistake: one line, no traceback, exit status 2."""

from __future__ import annotations

from cyclopts import App, CycloptsError

from struthio._version import __version__
from struthio.checks import UserError
from struthio.cli import terminal

ABOUT = "The workbench for adversarial robustness in PyTorch."
BEGIN = 'Begin with: struthio attack data:chelsea.png --to "common iguana" -o demo'

ATTACK_USAGE = """\
Usage: struthio attack PICTURE... --to CLASS [OPTIONS]
       struthio attack --model SPEC --data SPEC --threat SPEC [OPTIONS]
       struthio attack --endpoint URL --data SPEC --threat SPEC [OPTIONS]
       (--via SPEC searches on a model of your own in place of the one attacked)
"""

CERTIFY_USAGE = """\
Usage: struthio certify NET.onnx PROPERTY.vnnlib [--timeout S] [-o FILE]
       struthio certify MODEL --data SPEC --threat SPEC [OPTIONS]
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
)
app.command("struthio.cli.attack:attack", name="attack", usage=ATTACK_USAGE)
app.command("struthio.cli.audit:audit", name="audit")
app.command("struthio.cli.certify:certify", name="certify", usage=CERTIFY_USAGE)
app.command("struthio.cli.gauntlet:gauntlet", name="gauntlet")
app.command("struthio.cli.harden:harden", name="harden")
app.command("struthio.cli.transfer:transfer", name="transfer")
app.command("struthio.cli.listing:list_", name="list")
app.command("struthio.cli.listing:show", name="show")
app.register_install_completion_command()


def run(arguments: list[str]) -> int:
    """Run one command line and give its exit status."""
    try:
        return app(arguments) or 0
    except CycloptsError as error:
        terminal.error(f"{error} Try --help.")
    except UserError as error:
        terminal.error(str(error))
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 2
    except KeyboardInterrupt:
        terminal.error("stopped.")
        return 130
    return 2
