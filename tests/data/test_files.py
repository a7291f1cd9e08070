"""Files are whole or absent, and a folder that cannot be written is known before the work."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from struthio.checks import UserError
from struthio.data.files import replacing, writable_folder


def test_folder_is_made_and_left_empty(tmp_path):
    folder = writable_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_folder_that_is_a_file_or_below_one(tmp_path):
    (tmp_path / "a").write_text("kept")
    with pytest.raises(UserError, match="is a file"):
        writable_folder(tmp_path / "a")
    with pytest.raises(UserError, match="cannot write into"):
        writable_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a").read_text() == "kept"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write into"):
        writable_folder(tmp_path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as beside:  # noqa: PT012
        beside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with replacing(path) as beside:
        beside.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_under_safetensors(tmp_path):
    with pytest.raises(UserError, match="disk not full"), replacing(tmp_path / "a.safetensors"):
        raise SafetensorError("I/O error: No space left on device (os error 28)")


@pytest.mark.skipif(os.name != "posix", reason="needs modes of POSIX")
def test_who_may_read_new_files_may_read_these(tmp_path):
    """safetensors makes files that their owner alone may read."""
    (tmp_path / "usual").touch()
    with replacing(tmp_path / "a.safetensors") as beside:
        save_file({"a": torch.ones(1)}, beside)
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "usual").stat().st_mode
