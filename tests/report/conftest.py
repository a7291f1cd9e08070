import math

import pytest
import torch

from struthio.audit import Findings, Store

HOSTILE = "<script>alert(1)</script>\x00&\"'"
JOB = {
    "struthio": "0.1.0", "model": "net.py:build", "weights": "0123456789abcdef", "data": "digits:test",
    "labels": "of the data", "first_rows": "fedcba9876543210", "threats": {"linf:0.1": "Linf(eps=0.1)"},
    "level": "standard", "rows": 10, "batch_size": 10, "seed": 3, "certify": "auto", "repair": True, "stand_ins": {},
    "surrogates": {},
}  # fmt: skip
DOUBT = {
    "name": "zero-gradient", "evidence": "The gradient of 100 % of the rows is exactly zero.",
    "remedy": "The gradient is taken of the identity.", "numbers": {"rows": 1.0},
}  # fmt: skip
PLAN = {
    "names": ["margin", "square", "smallest change"], "attacks": ["PGD(steps=20)", "Square(queries=3000)"],
    "eps": 0.1, "seconds": 75.5, "draws": 1, "doubts": [], "log": [], "finished": True,
}  # fmt: skip


def ten_rows(fell=(1, 2, 3)):
    """Ten rows: 0 a clean mistake, some that fell to the first part, 9 an error, 7 and 8 proved, the rest held."""
    ids, by = torch.arange(10), torch.full((10,), -1)
    by[0], by[9], by[list(fell)] = -2, -3, 0
    size = torch.where(by == 0, 0.1, math.inf).double()
    size[by < -1] = 0.0
    predicted = torch.where(by == -2, 5, ids % 3)
    predicted[9] = -1
    return Findings(
        ids=ids, labels=ids % 3, predicted=predicted, fell=by != -1, by=by,
        predicted_adv=torch.where(by == 0, 4, predicted), size=size, margin=torch.where(by == 0, 0.5, -2.0).double(),
        smallest=torch.where(by == -2, 0.0, 0.05 * (1 + ids)).double(), certified=(ids == 7) | (ids == 8),
        suspicion=torch.full((10,), math.nan).double(), suspicion_adv=torch.full((10,), math.nan).double(),
        forwards=torch.full((10,), 30), backwards=torch.full((10,), 20),
    )  # fmt: skip


def pictures_of(findings, shape):
    """What a batch keeps: rows that fell or held, with the clean input and the changed one."""
    shown = findings.ids[findings.by >= -1]
    x = torch.rand(len(shown), *shape, generator=torch.Generator().manual_seed(0))
    x_adv = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).sign()).clamp(0, 1)
    return {"ids": shown, "x_adv": x_adv, "shown": shown, "shown_x": x, "shown_adv": x_adv}


@pytest.fixture
def made(tmp_path):
    """A store as an audit leaves it: `made(job={...}, plan={...}, fell={threat: rows}, shape=...)`."""
    stores = []

    def make(job=None, plan=None, fell=None, shape=(1, 8, 8)):
        job = {**JOB, **(job or {})}
        store = Store.open(tmp_path / f"audit{len(stores)}", job)
        stores.append(store)
        for threat in job["threats"]:
            findings = ten_rows((fell or {}).get(threat, (1, 2, 3)))
            store.note(f"plan {threat}", {**PLAN, "norm": threat.partition(":")[0], **(plan or {})})
            store.add(threat, 0, findings, pictures_of(findings, shape))
        return store

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def doubted():
    """A plan in which one doubt was found and mended, and the model failed on a row."""
    return {
        "doubts": [DOUBT],
        "log": ["The gradient is taken of the identity."],
        "errors": {"9": "ValueError: too dark"},
    }


@pytest.fixture
def hostile():
    """A job and a plan whose every text would be a script."""
    doubt = {**DOUBT, "evidence": HOSTILE, "remedy": HOSTILE}
    plan = {
        "names": [HOSTILE, "square", "smallest change"], "attacks": [HOSTILE, HOSTILE], "doubts": [doubt],
        "log": [HOSTILE], "errors": {"9": HOSTILE},
    }  # fmt: skip
    words = dict.fromkeys(("model", "data", "weights", "first_rows", "level", "certify", "struthio"), HOSTILE)
    return {**words, "threats": {HOSTILE: HOSTILE}, "stand_ins": {HOSTILE: HOSTILE}}, plan
