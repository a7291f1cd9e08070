"""Struthio in four ways: all rows take all steps or rows already won leave, on the model as given or a prepared one."""

from __future__ import annotations

from dataclasses import replace

import struthio as st
from bench.jobs import Found, Job, Run
from struthio.attacks import Attack

WAYS = {  # the column, whether rows that are won leave the batch, whether the model is prepared
    "struthio, every row to the end": (False, False),
    "struthio": (True, False),
    "struthio, every row to the end, prepared": (False, True),
    "struthio, prepared": (True, True),
}


def attack_of(job: Job, leave: bool) -> Attack:
    """The attack of a job. FGSM and MI-FGSM return their last iterate, so no row can leave."""
    keep = "first" if leave else "best"
    attacks = {
        "fgsm": st.FGSM(),
        "mi-fgsm": st.MIFGSM(steps=job.steps),
        "pgd-linf": st.PGD(steps=job.steps, step=job.share, keep=keep),
        "pgd-l2": st.PGD(steps=job.steps, step=job.share, keep=keep),
        "apgd-ce": st.APGD(steps=job.steps, keep=keep),
    }
    return attacks[job.attack]


def can_leave(job: Job) -> bool:
    """Whether the two ways differ for this attack."""
    return job.attack not in ("fgsm", "mi-fgsm")


def prepare(way: str, job: Job) -> Run:
    """The attack in one of the four WAYS, ready to run."""
    leave, fast = WAYS[way]
    if fast:
        job = replace(job, model=st.prepare(job.model, job.x))
    attack = attack_of(job, leave)
    goal = st.Untargeted(job.y)
    threat = st.L2(job.eps) if job.norm == 2 else st.Linf(job.eps)

    def run() -> Found:
        result = attack(job.model, job.x, goal, threat)
        return result.x_adv, result.success

    return run
