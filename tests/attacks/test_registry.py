"""Attacks by name, and options that cannot be meant, refused when they are given."""

import dataclasses
import importlib
import inspect
import pkgutil

import pytest

import struthio as st
import struthio.attacks
from struthio import UserError
from struthio.attacks import ATTACKS, attack_class, make
from struthio.attacks.base import Attack


def test_names():
    assert attack_class("pgd") is st.PGD
    assert attack_class("MI-FGSM") is st.MIFGSM
    assert make("pgd", steps=7) == st.PGD(steps=7)
    with pytest.raises(UserError, match="Did you mean: .*mi-fgsm"):
        attack_class("mifgsm")
    with pytest.raises(UserError, match="pgd has no option 'step_size'.*step"):
        make("pgd", step_size=3)


def test_no_whole_number_may_be_a_fraction():
    kinds = [*map(attack_class, ATTACKS), st.Repeat, st.EachTarget, st.Substitute, st.Averaged, st.Translated]
    for kind in kinds:
        for option in dataclasses.fields(kind):
            if option.type in ("int", "int | None"):
                given = {"attack": st.FGSM()} if "attack" in kind.__dataclass_fields__ else {}
                with pytest.raises(UserError, match="1.5; a whole number"):
                    kind(**given, **{option.name: 1.5})


def test_every_attack_is_listed_or_made_of_others():
    """Being listed is being tested, so whoever forgets the line is told here."""
    listed = {attack_class(name) for name in ATTACKS}
    for _, name, _ in pkgutil.iter_modules(struthio.attacks.__path__, "struthio.attacks."):
        for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            if not issubclass(kind, Attack) or kind is Attack or (kind.__subclasses__() and not kind.paper):
                continue
            inside = any(word in str(field.type) for field in dataclasses.fields(kind) for word in ("Attack", "Module"))
            fitted = kind in (st.Universal, st.Generative)  # what `fit` returns: no name could make it
            suite = kind is st.AutoAttack  # made of four that are listed
            assert kind in listed or inside or fitted or suite, f"{kind.__name__} is in no line of the registry"


def test_every_listed_attack_is_public():
    for name in ATTACKS:
        assert getattr(st, attack_class(name).__name__) is attack_class(name)


@pytest.mark.parametrize("name", ATTACKS)
def test_options_that_cannot_be_meant(name):
    """Counts of 0 or 2.5, unknown words, and scales below 0 are refused when the attack is made."""
    kind, tried = attack_class(name), 0
    for field in dataclasses.fields(kind):
        for wrong in {"steps": (0, 2.5, -3), "restarts": (0, 1.5), "targets": (0,), "samples": (0, 2.5), "copies": (0,),
                      "keep": ("longest",), "step": (0.0, -1.0), "level": (0.0,), "size": (4, 0), "sigma": (0.0,),
                      "beta": (-1.0,), "alpha": (1.0, -0.1), "decay": (-1.0,), "probability": (1.5,),
                      "smallest": (0.0, 2.0), "rho": (0.0, 3.0), "queries": (0, 2.5), "population": (0, 3),
                      "generations": (0, 1.5), "basis": ("wave",), "solver": ("simplex",), "tile": (0,),
                      "momentum": (-0.5, 3.0), "angles": (0, 2.5), "shifts": (0,),
                      "period": (1,)}.get(field.name, ()):  # fmt: skip
            tried += 1
            with pytest.raises(UserError):
                kind(**{field.name: wrong})
    assert tried or name == "fgsm"


def test_options_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        st.PGD().steps = 3
    assert dataclasses.replace(st.PGD(), steps=200) == st.PGD(steps=200)
    assert hash(st.PGD()) == hash(st.PGD())


def test_bim_asks_for_its_steps_where_radii_differ():
    import torch

    x = torch.full((2, 3), 0.5)
    goal = st.Untargeted(torch.tensor([0, 0]))
    with pytest.raises(UserError, match=r"BIM\(steps=10\)"):
        st.BIM()(lambda x: x, x, goal, st.Linf(torch.tensor([0.1, 0.2])))
    assert set(st.BIM()(lambda x: x, x, goal, st.Linf(torch.tensor([0.1, 0.1]))).backwards.tolist()) == {30}


def test_bim_reaches_the_radius_between_two_levels():
    import torch

    x, goal = torch.full((1, 2), 0.5), st.Untargeted(torch.tensor([0]))
    for levels in (0.5, 1.1, 1.19, 2.3, 7.7, 30.5):
        result = st.BIM()(lambda x: x * torch.tensor([1.0, -1.0]), x, goal, st.Linf(levels / 255))
        assert result.size.item() * 255 == pytest.approx(levels, rel=1e-4)
