"""Struthio in four ways: all rows take all steps or rows already won leave, on the model as given or a prepared one."""

from __future__ import annotations

import struthio as st
from bench.jobs import Found, Job, Tool
from struthio.attacks import Attack

WAYS = {  # the column, whether rows that are won leave the batch, whether the model is prepared
    "struthio, every row to the end": (False, False),
    "struthio": (True, False),
    "struthio, every row to the end, prepared": (False, True),
    "struthio, prepared": (True, True),
}


def attack_of(job: Job, leave: bool) -> Attack:
    """The attack of a job."""
    keep = "first" if leave else "best"
    attacks = {
        "fgsm": st.FGSM(),
        "mi-fgsm": st.MIFGSM(steps=job.steps),
        "pgd-linf": st.PGD(steps=job.steps, step=job.share, keep=keep),
        "pgd-l2": st.PGD(steps=job.steps, step=job.share, keep=keep),
        "apgd-ce": st.APGD(steps=job.steps, keep=keep),
    }
    return attacks[job.attack]


def ways(job: Job) -> list[str]:
    """The ways that differ for this attack: FGSM and MI-FGSM return their last iterate, so no row can leave."""
    last = job.attack in ("fgsm", "mi-fgsm")
    return [way for way, (leave, _) in WAYS.items() if leave or not last]


def prepare(way: str, job: Job) -> Tool:
    """The attack in one of the four WAYS, ready to run."""
    leave, fast = WAYS[way]
    model = st.prepare(job.model, job.x) if fast else job.model
    attack = attack_of(job, leave)
    goal = st.Untargeted(job.y)
    threat = st.L2(job.eps) if job.norm == 2 else st.Linf(job.eps)

    def run() -> Found:
        result = attack(model, job.x, goal, threat)
        return result.x_adv, result.success

    # What is won on a prepared model is confirmed on the one given, so both are asked.
    return Tool(run, (model, job.model) if getattr(model, "fast", job.model) is not job.model else (job.model,))
