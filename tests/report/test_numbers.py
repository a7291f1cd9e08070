import math

import pytest
from scipy.stats import binomtest

from struthio.report.numbers import likely, seconds_text, short_name, size_text
from struthio.shares import interval, percent


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.5, "50.0 %"),
        (0.99996, ">99.99 %"),
        (0.9964, "99.64 %"),
        (0.0042, "0.42 %"),
        (1e-9, "<0.01 %"),
    ],
)
def test_percent(share, text):
    assert percent(share) == text


def test_no_network_is_certain():
    assert (likely(1.0), likely(0.0)) == (">99.99 %", "<0.01 %")


@pytest.mark.parametrize(
    ("size", "p", "text"),
    [
        (4 / 255, math.inf, "4/255"),
        (0.2, math.inf, "0.2"),
        (0.013, math.inf, "0.013"),
        (1.23456, 2, "1.235"),
        (7.0, 0, "7"),
        (math.nan, 2, "none"),
    ],
)
def test_sizes(size, p, text):
    assert size_text(size, p) == text


def test_times():
    assert [seconds_text(s) for s in (0.04, 59.9, 90, 7200)] == ["0.0 s", "59.9 s", "2 min", "2.0 h"]


def test_names_are_cut_at_words():
    assert short_name("tabby, tabby cat") == "tabby"
    assert short_name("West Highland white terrier", 24) == "West Highland white…"
    assert short_name("Donaudampfschifffahrtsgesellschaft", 12) == "Donaudampfs…"


@pytest.mark.parametrize(("count", "of"), [(0, 7), (7, 7), (3, 10), (987, 1000), (4999, 10_000), (1, 1)])
def test_the_interval_is_that_of_scipy(count, of):
    known = binomtest(count, of).proportion_ci(method="exact")
    assert interval(count, of) == pytest.approx((known.low, known.high), abs=1e-9)


def test_no_interval_of_nothing():
    with pytest.raises(ValueError, match="1 of 0"):
        interval(1, 0)
