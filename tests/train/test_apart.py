"""Real processes: killed without warning, and two on one training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot")
def test_killed_or_two_they_end_as_one_that_was_left_alone(tmp_path):
    """One test, since one job tells it all and every worker would do it anew."""
    script = Path(__file__).with_name("apart.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    # killed at random moments it ends with the very same weights
    assert told["kills"] >= 2
    assert told["killed"]["sums"] == told["through"]["sums"]

    # two processes take the steps of one
    alone, together = (told[name]["losses"] for name in ("through", "two"))
    assert len(alone) == len(together) == 2 * (3 + 1)
    assert together == pytest.approx(alone, abs=1e-5)

    # one of two is killed, which the other notices, and both go on
    assert told["left"] != 0
    assert told["two_killed"]["sums"] == told["two"]["sums"]
