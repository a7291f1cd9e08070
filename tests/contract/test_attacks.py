"""Every promise, on every attack of the registry (being listed is being tested) and on attacks made of others."""

import pytest

import struthio as st
from struthio.attacks.registry import ATTACKS, attack_class
from struthio.testing import attack_promises

PROMISES = attack_promises()
COMBINED = {
    "repeat": st.Repeat(st.PGD(steps=3), 2),
    "cascade": st.Cascade((st.FGSM(), st.APGD(steps=4))),
    "each target": st.EachTarget(st.PGD(steps=3), 2, order="distance"),
    "smallest of": st.SmallestOf((st.FMN(steps=4), st.FMN(steps=3, step=0.5))),
    "smallest radius": st.SmallestRadius(st.PGD(steps=3), steps=3, first=1 / 16),
    "smallest radius of a cascade": st.SmallestRadius(st.Cascade((st.FGSM(), st.PGD(steps=3))), steps=2, first=1 / 8),
}
VARIED = {
    "pgd, restarts, best": st.PGD(restarts=2, keep="best", loss=st.Margin()),
    "pgd, averaged": st.PGD(gradient=st.Averaged(samples=2)),
    "pgd, smoothed": st.PGD(gradient=st.Smoothed(samples=2)),
    "pgd, through three views": st.PGD(gradient=st.Translated(st.Diverse(st.Scaled(copies=2)), size=3)),
    "pgd, estimated": st.PGD(gradient=st.Estimated("spsa", samples=2)),
    "apgd, restarts, best, dlr": st.APGD(restarts=2, keep="best", loss=st.DLR()),
}
# An attack made of others has no paper of its own; a slope estimated from probes may pass a win by.
SPARED = {
    **dict.fromkeys(COMBINED, {"is_documented"}),
    "pgd, estimated": {"never_loses_a_win"},
    "pgd, smoothed": {"never_loses_a_win"},
    "pgd, through three views": {"never_loses_a_win", "every_option_changes_something"},
}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", ATTACKS)
def test_registered(name, promise):
    promise(attack_class(name))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", [*COMBINED, *VARIED])
def test_combined_and_varied(name, promise):
    if promise.__name__ not in SPARED.get(name, ()):
        promise({**COMBINED, **VARIED}[name], norms=("linf",) if name in COMBINED else ("l2",))
