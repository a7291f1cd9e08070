import errno
import os
import subprocess
import sys

import pytest

from struthio import __version__


def _python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env})


@pytest.mark.parametrize(
    "command", ["--help", "--version", "attack --help", "transfer --help", "list --help", "show --help"]
)
def test_help_does_not_wait_for_torch(command):
    code = f"import sys; from struthio.cli import main; print(main({command.split()!r}), 'torch' in sys.modules)"
    said = _python(code)
    assert said.stdout.endswith("0 False\n"), said.stderr


def test_help_names_the_commands(run):
    said = run("--help")
    for word in ("attack", "list", "show", "--install-completion", "data:chelsea.png", "or a model over a data set"):
        assert word in said.out
    assert "PICTURE... --to CLASS" in run("attack", "--help").out


def test_version(run):
    assert run("--version").out.strip() == __version__


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("atack", "attack"),
        ("attack --untargetd", "--untargeted"),
        ("attack -n x", "int"),
        ("attack --steps 1.5", "--steps: a whole number is needed"),
        ("audit zoo:digits-cnn data:digits --seed 0.5", "--seed: a whole number is needed"),
        ("show", "NAME"),
    ],
)
def test_mistyped_commands(run, command, words):
    run(*command.split()).refused(words, "--help")


def test_completion_is_installed(tmp_path):
    code = "from struthio.cli import main; raise SystemExit(main(['--install-completion', '--shell', 'bash']))"
    said = _python(code, HOME=str(tmp_path))
    assert said.returncode == 0, said.stderr
    assert any("struthio" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_reader_that_stops_early():
    command = f"{sys.executable} -m struthio.cli list attacks --json | head -n 1"
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert said.stdout == "[\n"
    assert "Traceback" not in said.stderr


def test_a_full_disk_is_said(run, monkeypatch):
    def full(arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("struthio.cli.app.make_app", lambda listing: full)
    run("list", "attacks").refused("the disk is full")
