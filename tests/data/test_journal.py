"""What was added to a journal is there; what was damaged is forgotten, and what is of others refused."""

import sqlite3
import warnings
from contextlib import closing

import pytest

from struthio.checks import UserError
from struthio.data.database import StoreWarning
from struthio.data.journal import Journal

JOB = {"model": "zoo:digits-cnn", "seed": 0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


def test_records_come_back_in_the_order_in_which_they_came(path):
    with Journal.open(path, JOB) as journal:
        assert journal.empty
        journal.put("a", {b"2": b"x", b"1": b"yy"})
        journal.put("b", {b"2": b""})
        journal.put("a", {b"2": b"zzz"})  # in its old place
        journal.note("seconds", 1.5)
        journal.sync()
    with Journal.open(path, JOB) as journal:
        assert list(journal.all("a")) == [(b"2", b"zzz"), (b"1", b"yy")]
        assert (journal.count("a"), journal.size("a"), journal.count("c"), journal.size("c")) == (2, 5, 0, 0)
        assert journal.noted("seconds") == 1.5
        assert journal.noted("minutes", 7) == 7
        journal.drop("a", b"2")
        assert list(journal.all("a")) == [(b"1", b"yy")]
        assert list(journal.all("b")) == [(b"2", b"")]


def test_all_or_nothing(path):
    def interrupted(journal):
        with journal.together():
            journal.put("a", {b"1": b"x"})
            with journal.together():
                journal.note("seconds", 2)
            raise KeyboardInterrupt

    with Journal.open(path, JOB) as journal:
        with pytest.raises(KeyboardInterrupt):
            interrupted(journal)
        assert journal.empty
        assert journal.noted("seconds") is None


def test_another_job_is_refused_once_there_is_something(path):
    with Journal.open(path, JOB) as journal:
        journal.note("seconds", 1)
    with Journal.open(path, JOB | {"seed": 1}) as journal:
        assert journal.noted("seconds") is None
        journal.put("a", {b"1": b"x"})
    with pytest.raises(UserError, match=r"another attack \(seed: given 0, there 1\)"):
        Journal.open(path, JOB, "attack")


def test_one_process_at_a_time(path):
    with Journal.open(path, JOB), pytest.raises(UserError, match="another process is writing in"):
        Journal.open(path, JOB)
    Journal.open(path, JOB).close()


def test_damaged_records_are_forgotten(path):
    with Journal.open(path, JOB) as journal:
        journal.put("a", {bytes([place]): bytes(9) for place in range(4)})
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE records SET value = zeroblob(8) WHERE key = x'01'")
        database.execute("UPDATE records SET key = 7 WHERE key = x'02'")
    with pytest.warns(StoreWarning, match="2 records in .* were damaged"), Journal.open(path, JOB) as journal:
        assert [key for key, _ in journal.all("a")] == [b"\0", b"\3"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Journal.open(path, JOB).close()


def test_a_torn_file_and_that_of_another_program_are_refused(path):
    with Journal.open(path, JOB) as journal:
        journal.put("a", {bytes([place]): bytes(3000) for place in range(9)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="is damaged .* begin again"):
        Journal.open(path, JOB)
    path.unlink()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE songs (name)")
    with pytest.raises(UserError, match="another program"):
        Journal.open(path, JOB)
