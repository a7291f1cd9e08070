"""The whole board on 50 digits a row: every broken defence falls, the sound ones stand, and doubts are right.

papers.md, entries 36, 47-49, 56, 60 and 61, and the general rule before entry 29.
"""

import pytest
import torch

import struthio as st
from struthio.certify import certify
from struthio.data.digits import digits
from struthio.gauntlet import ROWS, gauntlet
from struthio.gauntlet.bits import best_bits, movable
from struthio.gauntlet.networks import plain
from struthio.gauntlet.outcome import as_it_should, verdict

pytestmark = pytest.mark.slow
DIGITS = [name for name, row in ROWS.items() if row.data == "digits"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gauntlet")


@pytest.mark.parametrize("name", DIGITS)
def test_row(name, folder):
    row, found = ROWS[name], gauntlet([name], count=50, folder=folder).outcomes[name]
    print(
        f"{name:20} clean {found.clean / found.of:.2f} naive {found.naive / found.of:.2f} audit "
        f"{found.audited / found.of:.2f} {verdict(row, found):10} {', '.join(found.doubts)} {found.seconds:.0f} s"
    )
    assert found.clean >= 0.7 * found.of
    assert as_it_should(row, found)


def test_few_pixels_of_a_digit_can_be_carried_across_the_middle():
    """What the audit leaves of rounding to one bit at Linf 0.3 is what a search over all these pixels leaves.

    Bounds for any values of these pixels, grey ones too, prove some of it.
    """
    (x, y), eps = (part[:48] for part in digits("test")), 0.3
    free = movable(x, eps)
    searched = best_bits(plain(), x, y, eps)[1] < 0
    grey = st.Masked(st.Linf(0.5), free, each=True)
    proved = certify(plain(), torch.where(free, 0.5, x.round()), y, grey, "crown").certified
    left = st.audit(st.BitDepth.around(plain(), 1), (x, y), f"linf:{eps}", certify="none").verdict.at_most.count
    print(
        f"{free.flatten(1).sum(1).double().mean():.0f} of 784 pixels can be carried across; of {len(x)} digits the "
        f"search leaves {int(searched.sum())}, {int(proved.sum())} of them proved; the audit leaves {left}"
    )
    assert not (proved & ~searched).any()
    assert searched.double().mean() >= 0.5
    assert abs(left - int(searched.sum())) <= 0.05 * len(x)


@pytest.mark.parametrize("name", ["jpeg", "bit-depth", "thermometer", "resize-pad", "sap", "noise-at-test", "nearest"])
def test_masked_rows_mislead_the_naive_attack(name, folder):
    """Of each of these PGD leaves a tenth or more, and more than three times what the audit leaves."""
    found = gauntlet([name], count=50, folder=folder).outcomes[name]
    assert found.naive > 3 * found.audited
    assert found.naive >= 0.1 * found.of
