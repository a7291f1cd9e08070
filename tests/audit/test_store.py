"""What was added to a store is there, whatever happened since; what was damaged is noticed."""

import errno
import multiprocessing
import os
import shutil
import sqlite3
import time
import warnings
from contextlib import suppress
from dataclasses import fields, replace

import pytest
import torch

from struthio.audit import tables
from struthio.audit.findings import Findings
from struthio.audit.store import Store
from struthio.audit.summary import summarise
from struthio.checks import UserError
from struthio.data import shards
from struthio.data.database import StoreWarning, remote_kind

resource = pytest.importorskip("resource", reason="processes are forked and limited as on POSIX")
FORK = multiprocessing.get_context("fork")
JOB = {"model": "zoo:digits-cnn", "threats": ["linf:0.3"], "seed": 0, "rows": 1000}
THREAT = "linf:8/255"


def findings_of(batch, rows=6):
    """Findings that depend on the number of the batch alone."""
    generator = torch.Generator().manual_seed(batch)
    whole = {f.name: torch.randint(-3, 2**62, (rows,), generator=generator) for f in fields(Findings)}
    real = {
        name: torch.randn(rows, generator=generator, dtype=torch.float64)
        for name in ("size", "margin", "smallest", "suspicion", "suspicion_adv")
    }
    return Findings(**whole | real | {name: torch.arange(rows) % 2 == 0 for name in ("fell", "certified")})


def pictures_of(batch, rows=6):
    x = torch.rand(rows, 1, 28, 28, generator=torch.Generator().manual_seed(batch))
    return {"ids": torch.arange(rows), "x": x, "x_adv": x + 0.25}


def add(store, batches, acknowledge=lambda batch: None):
    for batch in batches:
        if batch not in store.done(THREAT):
            store.add(THREAT, batch, findings_of(batch), pictures_of(batch))
            acknowledge(batch)


def fill(folder, batches, acknowledge=lambda batch: None):
    with Store.open(folder, JOB) as store:
        add(store, batches, acknowledge)


def apart(do, *arguments):
    """What a call raises in a process of its own, as text; None where all went well."""
    here, there = FORK.Pipe(duplex=False)

    def work():
        try:
            there.send(do(*arguments))
        except Exception as error:
            there.send(f"{type(error).__name__}: {error}")

    process = FORK.Process(target=work)
    process.start()
    said = here.recv()
    process.join()
    return said


def assert_holds(store, batches):
    """Bit for bit what was added, in order."""
    assert store.done(THREAT) == set(batches)
    for batch, found in zip(sorted(batches), store.findings(THREAT), strict=True):
        assert tables.checksum(found) == tables.checksum(findings_of(batch))
        assert shards.save(store.pictures(THREAT, batch)) == shards.save(pictures_of(batch))


def test_what_is_added_comes_back(tmp_path):
    with Store.open(tmp_path / "a" / "b", JOB) as store:
        for batch in (2, 0, 1):
            store.add(THREAT, batch, findings_of(batch), pictures_of(batch))
        store.add("l2:1", 0, findings_of(7))
        assert_holds(store, {0, 1, 2})
        assert store.pictures("l2:1", 0) == {}
        assert store.threats() == ["l2:1", THREAT]
        assert store.done("l1:1") == set()
        with pytest.raises(ValueError, match="added already"):
            store.add(THREAT, 1, findings_of(9), pictures_of(9))
        with pytest.raises(KeyError, match="no batch 9"):
            store.pictures(THREAT, 9)
    with Store.read(tmp_path / "a" / "b") as store:
        assert_holds(store, {0, 1, 2})
        assert store.job == JOB


def test_every_number_survives(tmp_path):
    odd = [torch.inf, -torch.inf, torch.nan, 5e-324, 1 / 3, 1e308]
    whole = torch.tensor([2**63 - 1, -(2**63), 0, -1, -2, -3])
    given = replace(findings_of(0), size=torch.tensor(odd, dtype=torch.float64), ids=whole, by=whole)
    given = replace(given, margin=torch.tensor([0.1, 0.2, 0, 1, 2, 3]), predicted=whole.int())  # float32, int32
    empty = given[:0]
    with Store.open(tmp_path, {}) as store:
        store.add("a", 0, given)
        store.add("a", 1, empty)
        found, nothing = store.findings("a")
    assert found.size.dtype == torch.float64
    assert torch.equal(found.size, given.size) or found.size.nan_to_num(9).equal(given.size.nan_to_num(9))
    assert found.ids.equal(whole)
    assert found.ids.dtype == torch.int64
    assert found.fell.equal(given.fell)
    assert found.fell.dtype == torch.bool
    assert found.margin.equal(given.margin.double())
    assert found.predicted.equal(whole.int().long())
    assert len(nothing) == 0
    assert nothing.size.dtype == torch.float64


def test_tensors_that_share_memory_or_are_strided(tmp_path):
    x = torch.arange(24.0).reshape(4, 6)
    given = {"x": x, "part": x[1:3], "turned": x.T, "spread": x[:1].expand(3, 6), "ids": torch.tensor([1, 2])}
    with Store.open(tmp_path, {}) as store:
        store.add("a", 0, findings_of(0), given)
        found = store.pictures("a", 0)
    assert set(found) == set(given)
    assert all(found[name].equal(given[name]) for name in given)


def test_facts(tmp_path):
    with Store.open(tmp_path, JOB) as store:
        for value in ({"b": [1, None, "é"], "a": float("inf")}, 2.5):
            store.note("plan", value)
            assert store.noted("plan") == value
        store.note("doubts", [])
        store.add(THREAT, 0, findings_of(0), notes={"bars": [0.5]})
        assert store.noted("bars") == [0.5]
        with pytest.raises(TypeError, match="not JSON serializable"):
            store.add(THREAT, 1, findings_of(1), pictures_of(1), notes={"bars": [1], "odd": {1, 2}})
        assert store.done(THREAT) == {0}
        assert os.listdir(tmp_path / "pictures") == []
    with Store.open(tmp_path, JOB) as store:
        assert store.notes() == {"plan": 2.5, "doubts": [], "bars": [0.5]}
        assert store.noted("seconds") is None
        assert store.noted("seconds", 0) == 0


def test_another_job_is_refused_with_what_differs(tmp_path):
    fill(tmp_path, [0])
    with pytest.raises(UserError, match=r"another audit \(extra: given true, there nothing; seed: given 1, there 0\)"):
        Store.open(tmp_path, JOB | {"seed": 1, "extra": True})
    with pytest.raises(UserError, match="rows: given nothing, there 1000"):
        Store.open(tmp_path, {name: JOB[name] for name in ("model", "threats", "seed")})
    same = {"threats": ("linf:0.3",), "rows": 1000, "seed": 0, "model": "zoo:digits-cnn"}
    with Store.open(tmp_path, same) as store:
        assert_holds(store, {0})


def test_all_threats_together_count_rows_that_each_has_seen(tmp_path):
    with Store.open(tmp_path, JOB | {"threats": ["a", "b"], "certify": "none"}) as store:
        for threat, batches in (("b", (0, 1)), ("a", (0, 2))):  # as workers leave them that are stopped
            store.note(f"plan {threat}", {"names": []})
            for batch in batches:
                store.add(threat, batch, findings_of(batch))
        assert summarise(store).worst.rows == len(findings_of(0))


def test_foreign_folders_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"other files \(thesis.tex\) and no audit"):
        Store.open(tmp_path, JOB)
    with pytest.raises(UserError, match="is a file"):
        Store.open(tmp_path / "thesis.tex", JOB)
    with pytest.raises(UserError, match="holds no audit"):
        Store.read(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]
    with sqlite3.connect(tmp_path / "audit.sqlite") as other:
        other.execute("CREATE TABLE songs (name)")
    with pytest.raises(UserError, match="another program"):
        Store.open(tmp_path, JOB)


def test_other_versions_are_refused(tmp_path):
    columns = (
        "ids, labels, predicted, fell, by, predicted_adv, size, margin, smallest, certified, suspicion, suspicion_adv, "
        "forwards, backwards"
    )
    assert ", ".join(tables.COLUMNS) == columns, "other columns than those of SCHEMA 2: raise it, and give them here"
    fill(tmp_path, [0])
    for version, age in ((tables.SCHEMA + 1, "a newer"), (tables.SCHEMA - 1, "an older")):
        with sqlite3.connect(tmp_path / "audit.sqlite") as database:
            database.execute(f"PRAGMA user_version = {version}")
        for attempt in (lambda: Store.open(tmp_path, JOB), lambda: Store.read(tmp_path)):
            with pytest.raises(UserError, match=f"by {age} version"):
                attempt()


def test_one_writes_and_others_read(tmp_path):
    with Store.open(tmp_path, JOB) as store:
        store.add(THREAT, 0, findings_of(0), pictures_of(0))
        with pytest.raises(UserError, match="another process is writing"):
            Store.open(tmp_path, JOB)
        assert apart(lambda: assert_holds(Store.read(tmp_path), {0})) is None
        assert "UserError: another process is writing" in apart(fill, tmp_path, [1])
        with Store.read(tmp_path) as reader:
            store.add(THREAT, 1, findings_of(1), pictures_of(1))
            assert_holds(reader, {0, 1})
            with pytest.raises(UserError, match="readonly"):
                reader.note("a", 1)


def test_a_folder_that_cannot_be_written_is_read(tmp_path, monkeypatch):
    fill(tmp_path, [0])
    before = sorted(os.listdir(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, kind: False)
    with Store.read(tmp_path) as store:
        assert_holds(store, {0})
        assert sorted(os.listdir(tmp_path)) == before


def test_damaged_shards_are_done_again(tmp_path):
    fill(tmp_path, range(4))
    torn, flipped, gone, _ = sorted((tmp_path / "pictures").iterdir())
    torn.write_bytes(torn.read_bytes()[:-1])
    data = bytearray(flipped.read_bytes())
    data[-1] ^= 1
    flipped.write_bytes(data)
    gone.unlink()
    with Store.read(tmp_path) as store, pytest.raises(UserError, match="torn, or changed"):
        store.pictures(THREAT, 0)
    with Store.read(tmp_path) as store, pytest.raises(UserError, match="cannot be read"):
        store.pictures(THREAT, 2)
    with pytest.warns(StoreWarning, match="damaged on the disk") as said, Store.open(tmp_path, JOB) as store:
        assert_holds(store, {3})
    assert [f"batch {batch}" in str(said[batch].message) for batch in range(3)] == [True] * 3
    fill(tmp_path, range(4))
    with Store.read(tmp_path) as store:
        assert_holds(store, range(4))


def test_leftovers_are_swept(tmp_path):
    fill(tmp_path, range(2))
    kept = sorted((tmp_path / "pictures").iterdir())
    for name in ("linf-00009.safetensors", kept[0].name + ".part"):
        (tmp_path / "pictures" / name).write_bytes(b"torn")
    fill(tmp_path, range(2))
    assert sorted((tmp_path / "pictures").iterdir()) == kept


def test_a_flipped_byte_of_the_database_never_changes_a_verdict(tmp_path):
    """Anywhere in the file: a message, or a batch done again, or all as it was."""
    good = tmp_path / "good"
    fill(good, range(3))
    with Store.open(good, JOB) as store:
        store.note("plan", "abc")
    size = (good / "audit.sqlite").stat().st_size
    outcomes = {"refused": 0, "again": 0, "same": 0}
    bad = tmp_path / "bad"
    for place in torch.randint(size, (30,), generator=torch.Generator().manual_seed(4)).tolist():
        shutil.copytree(good, bad)
        data = bytearray((good / "audit.sqlite").read_bytes())
        data[place] ^= 1 << place % 8
        (bad / "audit.sqlite").write_bytes(data)
        try:
            with warnings.catch_warnings(record=True), Store.open(bad, JOB) as store:
                warnings.simplefilter("always")
                assert_holds(store, store.done(THREAT))
                assert store.notes() == {"plan": "abc"}
                outcomes["same" if store.done(THREAT) == {0, 1, 2} else "again"] += 1
        except UserError:
            outcomes["refused"] += 1
        shutil.rmtree(bad)
    print(outcomes)
    assert outcomes["refused"]
    assert outcomes["again"]


def test_a_torn_database_is_refused(tmp_path):
    fill(tmp_path, range(8))
    path = tmp_path / "audit.sqlite"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"audit.sqlite is damaged .* begin again"):
        Store.open(tmp_path, JOB)
    path.write_bytes(b"no database at all, but some other text of more than a hundred bytes" * 3)
    for attempt in (lambda: Store.open(tmp_path, JOB), lambda: Store.read(tmp_path)):
        with pytest.raises(UserError, match="is damaged"):
            attempt()


@pytest.mark.parametrize("what", ["fsync", "database"])
def test_a_full_disk_ends_with_a_message_and_can_go_on(tmp_path, monkeypatch, what):
    fill(tmp_path, [0])
    with Store.open(tmp_path, JOB) as store:
        with monkeypatch.context() as patch:
            if what == "fsync":
                patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
            else:
                store._database.execute("PRAGMA max_page_count = 1")  # SQLite's own "database or disk is full"
            with pytest.raises(UserError, match=r"(No space left|disk is full).*make room and run the same again"):
                add(store, range(1, 30))
        store._database.execute("PRAGMA max_page_count = 1000000")
        done = store.done(THREAT)
        assert_holds(store, done)
        assert len(list((tmp_path / "pictures").iterdir())) == len(done)
        add(store, [30])
    fill(tmp_path, range(3))
    with Store.read(tmp_path) as store:
        assert_holds(store, done | {0, 1, 2, 30})


def fill_with_little_room(folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # the write-ahead log meets it first
    fill(folder, range(100))


def test_no_room_in_a_real_file_system(tmp_path):
    assert apart(fill_with_little_room, tmp_path).startswith("UserError: cannot read or write")
    with Store.read(tmp_path) as store:
        done = store.done(THREAT)
        assert 0 < len(done) < 100
        assert_holds(store, done)
    fill(tmp_path, range(3))


def test_killed_at_many_moments(tmp_path):
    """Whatever the moment: what was acknowledged is there bit for bit, and resumption ends where no kill would."""
    started = time.perf_counter()
    assert len(acknowledged(tmp_path / "whole", 8, 0)) == 8
    one = (time.perf_counter() - started) / 8
    killed = 0
    for number, moment in enumerate(torch.rand(16, generator=torch.Generator().manual_seed(0)).tolist()):
        folder = tmp_path / str(number)
        told = acknowledged(folder, number % 8, moment * one)
        killed += len(told) < 8
        if told:
            with Store.read(folder) as store:
                assert set(told) <= store.done(THREAT)
                assert_holds(store, store.done(THREAT))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a kill alone damages nothing
            fill(folder, range(8))
        with Store.read(folder) as store:
            assert_holds(store, range(8))
        assert sorted(os.listdir(folder / "pictures")) == sorted(os.listdir(tmp_path / "whole" / "pictures"))
    assert killed >= 6


def acknowledged(folder, batches, moment):
    """The batches that a process said it had added before it was killed, some seconds after so many of them."""
    here, there = FORK.Pipe(duplex=False)
    process = FORK.Process(target=fill, args=(folder, range(8), there.send))
    process.start()
    there.close()
    told = [here.recv() for _ in range(batches)]
    time.sleep(moment)
    process.kill()
    process.join()
    with suppress(EOFError):
        while True:
            told.append(here.recv())
    return told


def test_network_file_systems_are_known(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda / ext4 rw 0 0\nhost:/home {tmp_path}/far nfs4 rw 0 0\nx {tmp_path}/far/near tmpfs rw 0 0\n"
    )
    (tmp_path / "far" / "near").mkdir(parents=True)
    assert remote_kind(tmp_path / "far", mounts) == "nfs4"
    assert remote_kind(tmp_path, mounts) is None
    assert remote_kind(tmp_path / "far" / "near", mounts) is None
    assert remote_kind(tmp_path, tmp_path / "nowhere") is None
