"""Real processes: killed without warning, and two on one training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    script = Path(__file__).with_name("apart.py")
    folder = tmp_path_factory.mktemp("apart")
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_at_random_moments_it_ends_with_the_very_same_weights(told):
    assert told["kills"] >= 2
    assert told["killed"]["sums"] == told["through"]["sums"]


def test_two_processes_take_the_steps_of_one(told):
    alone, together = (told[name]["losses"] for name in ("through", "two"))
    assert len(alone) == len(together) == 2 * (3 + 1)
    assert together == pytest.approx(alone, abs=1e-5)


def test_one_of_two_is_killed_and_both_go_on(told):
    assert told["left"] != 0  # the other noticed
    assert told["two_killed"]["sums"] == told["two"]["sums"]
