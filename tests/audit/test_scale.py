"""The same answers from one process, several, and a cluster; whatever dies meanwhile."""

import fcntl
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections import deque
from functools import partial
from importlib.util import find_spec
from itertools import count

import pytest

import struthio as st
from struthio.audit.crew import Answer, Died, Raised, Ready, Worker, shared_out
from struthio.audit.parcel import Parcel
from struthio.audit.processes import _message
from struthio.audit.scale import spread
from struthio.checks import UserError


class Pretended:
    """A crew in this process: its workers do one thing each time events are asked for, and die where told."""

    def __init__(self, build, size, deadly=()):
        self.size, self.build, self.deadly = size, build, list(deadly)
        self.names, self.members, self.most, self.dismissed = count(), {}, 0, False

    def hire(self):
        name = next(self.names)
        self.members[name] = (Worker(), deque(["begin"]))
        return name

    def give(self, name, task):
        self.members[name][1].append(task)

    def events(self):
        happened = [(name, self.event(name)) for name, (_, todo) in list(self.members.items()) if todo]
        self.most = max([self.most, *(len(todo) for _, todo in self.members.values())])
        return happened

    def event(self, name):
        worker, todo = self.members[name]
        task = todo.popleft()
        if task in self.deadly:
            self.deadly.remove(task)
            del self.members[name]
            return Died("struck by lightning")
        return worker.begin(self.build) if task == "begin" else worker.do(task)

    def dismiss(self):
        self.dismissed = True


def squares():
    return square


def square(task):
    if task == "poison":
        raise UserError("poison is no number")
    return task * task


def test_alone_tasks_are_done_in_order_each_when_asked_for():
    drawn = []
    answers = spread(squares, (drawn.append(k) or k for k in range(5)))
    assert next(answers) == (0, 0)
    assert drawn == [0]
    assert list(answers) == [(k, k * k) for k in range(1, 5)]
    assert list(spread(squares, range(3), "1")) == [(0, 0), (1, 1), (2, 4)]


@pytest.mark.parametrize("workers", [0, -1, True, 2.5, "two", "ray:", "ray:0", "ray://", "raygun", ""])
def test_workers_that_cannot_be_meant(workers):
    with pytest.raises(UserError, match="workers is .* whole number"):
        spread(squares, range(3), workers)


def test_a_missing_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"struthio\[ray\]"):
        spread(squares, range(3), "ray")


@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 7])
def test_every_task_once_and_never_more_than_two_in_hand(tasks):
    crew = Pretended(squares, 3)
    drawn, done = [], 0
    for task, answer in shared_out(lambda: crew, (drawn.append(k) or k for k in range(tasks))):
        assert answer == task * task
        done += 1
        assert len(drawn) - done <= 2 * 3 + 1
    assert done == tasks
    assert crew.most <= 2
    assert next(crew.names) == min(3, tasks)
    assert crew.dismissed


def test_tasks_of_dead_workers_are_done_again():
    crew = Pretended(squares, 2, deadly=[3, 3, 8])
    assert dict(shared_out(lambda: crew, range(10))) == {k: k * k for k in range(10)}
    assert next(crew.names) == 2 + 3


def test_a_task_that_kills_three_workers_is_named():
    crew = Pretended(squares, 2, deadly=[3, 3, 3])
    with pytest.raises(UserError, match="task 3 was begun 3 times, and each time its worker died .struck by lightning"):
        list(shared_out(lambda: crew, range(10)))
    assert crew.dismissed


def test_workers_that_die_before_they_begin():
    crew = Pretended(squares, 2, deadly=["begin"] * 3)
    with pytest.raises(UserError, match="3 workers died before they began .*__main__"):
        list(shared_out(lambda: crew, range(10)))
    assert crew.dismissed


def test_leaving_early_dismisses():
    crew = Pretended(squares, 2)
    answers = shared_out(lambda: crew, count())
    next(answers)
    answers.close()
    assert crew.dismissed


def test_what_a_worker_says():
    worker = Worker()
    assert worker.begin(squares) == Ready()
    assert worker.do(3) == Answer(9)
    said = worker.do("poison")
    assert isinstance(said, Raised)
    assert isinstance(said.error, UserError)
    assert "in a worker, at task 'poison'" in said.error.__notes__[0]

    class Unsendable(Exception):
        pass

    def raising():
        raise Unsendable("as it is local")

    assert repr(worker.begin(raising)) == "Raised(error=RuntimeError('Unsendable: as it is local'))"


def test_models_from_files_of_the_user_are_unpacked(tmp_path):
    (tmp_path / "parts.py").write_text("import torch\n\nclass Part(torch.nn.Flatten):\n    pass\n")
    (tmp_path / "mine.py").write_text("from parts import Part\n\nclass Mine(Part):\n    pass\n")
    model = st.load(f"{tmp_path / 'mine.py'}:Mine")
    parcel = pickle.loads(pickle.dumps(Parcel.pack(partial(type, model))))
    assert parcel.files == (str(tmp_path / "mine.py"),)
    assert Parcel.pack(squares).files == ()
    for name in ("_struthio_user_mine", "parts"):  # as in another process
        del sys.modules[name]
    assert parcel().__name__ == "Mine"


def killing(folder):
    return partial(square_or_die, folder)


def square_or_die(folder, task):
    """Task 5 kills its first worker with signal 9."""
    if task == 5 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task * task, os.getpid()


def test_processes_of_which_one_is_killed(tmp_path):
    answers = dict(spread(partial(killing, tmp_path), range(12), 2))
    assert {task: answer for task, (answer, _) in answers.items()} == {k: k * k for k in range(12)}
    assert (tmp_path / "died").exists()
    assert os.getpid() not in {pid for _, pid in answers.values()}


def test_exceptions_in_processes_reach_the_caller():
    with pytest.raises(UserError, match="poison is no number") as caught:
        list(spread(squares, ["poison"], 2))
    assert "square" in caught.value.__notes__[0]


def test_what_cannot_be_sent():
    with pytest.raises(UserError, match=r"cannot be sent to other processes .*[Cc]an't pickle"):
        list(spread(lambda: square, [1], 2))
    said = pickle.loads(_message(Answer(lambda: 0)))
    assert isinstance(said, Raised)
    assert "an answer cannot be sent" in str(said.error)


def sleepers(folder):
    return partial(sleep_locked, folder)


def sleep_locked(folder, task):
    """Hold a lock that ends with this process."""
    with (folder / task).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("asleep")
        file.flush()
        time.sleep(60)


def lead(folder):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored in the background
    os.setsid()  # a terminal sends its Ctrl-C to all processes of the session
    list(spread(partial(sleepers, folder), ["task"], 2))


@pytest.mark.parametrize("end", ["ctrl-c", "kill"])
def test_no_worker_outlives_the_leader(tmp_path, capfd, end):
    leader = multiprocessing.get_context("fork").Process(target=lead, args=(tmp_path,))
    leader.start()
    within(60, lambda: (tmp_path / "task").exists() and (tmp_path / "task").read_text())
    if end == "ctrl-c":
        os.killpg(leader.pid, signal.SIGINT)
    else:
        leader.kill()
    within(10, lambda: leader.exitcode is not None)
    with (tmp_path / "task").open() as file:
        within(10, lambda: free(file))
    assert capfd.readouterr().err.count("KeyboardInterrupt\n") <= 1  # the leader's own


def free(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def within(seconds, holds):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'struthio[ray]'")


def attacking(folder):
    """A real task: a batch of digits attacked, and one worker killed in the middle."""
    ids, x, y = next(iter(st.load_data("data:digits").batches(64)))
    return partial(attacked, st.load("zoo:digits-cnn"), ids, x, y, folder)


def attacked(model, ids, x, y, folder, task):
    square_or_die(folder, task)
    rows = slice(8 * task, 8 * task + 8)
    generator = st.RowGenerator.seeded(0, ids[rows])
    return st.PGD(steps=5)(model, x[rows], st.Untargeted(y[rows]), st.Linf(0.1), generator).x_adv


@pytest.mark.slow
@needs_ray
@pytest.mark.parametrize("workers", ["ray:2", 2])
def test_a_killed_worker_changes_no_answer(tmp_path, workers):
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "died").touch()
    expected = dict(spread(partial(attacking, tmp_path / "alone"), range(8)))
    answers = dict(spread(partial(attacking, tmp_path), range(8), workers))
    assert (tmp_path / "died").exists()
    assert answers.keys() == expected.keys()
    assert all(answers[task].equal(expected[task]) for task in expected)


@pytest.mark.slow
@needs_ray
def test_exceptions_in_a_cluster_reach_the_caller():
    with pytest.raises(UserError, match="poison is no number"):
        list(spread(squares, [1, "poison"], "ray:2"))


@needs_ray
def test_a_cluster_that_does_not_answer(monkeypatch):
    import ray

    def refuse(**options):
        raise ConnectionError(f"nobody at {options['address']}")

    monkeypatch.setattr(ray, "init", refuse)  # the real one tries for minutes
    with pytest.raises(UserError, match=r"no Ray cluster answers at auto \(nobody at auto\).*ray start --head"):
        list(spread(squares, [1], "ray:auto"))
