"""Proofs for the rows of a batch that held: those farthest from the border first, until a handful all fail."""

from __future__ import annotations

from torch import Tensor

from struthio.audit.findings import Findings
from struthio.audit.setting import Setting
from struthio.certify.certificate import certify

HANDFUL = 8  # rows that are proved together


class Contradiction(AssertionError):
    """A row was proved to hold, and fell: one of the two is wrong, and no number of this audit can be trusted."""


def prove(setting: Setting, x: Tensor, labels: Tensor, found: Findings, rows: Tensor) -> None:
    """Try to prove that what held must hold, and mark in the findings what is proved.

    A few rows that fell are tried too, since none of them may be proved.

    Args:
        setting: what was decided.
        x: the rows of the batch [n, ...].
        labels: their classes, int64 [n].
        found: what the attacks came to, one entry a row.
        rows: which are right when nothing is changed, bool [n]; no other is tried.

    Raises:
        Contradiction: where a row that fell is proved.
    """
    _some(setting, x, labels, found, (rows & found.fell).nonzero().flatten()[:HANDFUL])
    held = (rows & found.held).nonzero().flatten()
    for some in held[found.margin[held].sort(stable=True).indices].split(HANDFUL):
        if not _some(setting, x, labels, found, some):
            break


def _some(setting: Setting, x: Tensor, labels: Tensor, found: Findings, rows: Tensor) -> bool:
    """Whether any of these rows is proved to hold."""
    if not len(rows):
        return False
    there = rows.to(x.device)
    proof = certify(setting.judge, x[there], labels[there], setting.threat[there], setting.certify)
    found.certified[rows] = proof.certified.cpu()
    wrong = found.ids[found.certified & found.fell].tolist()
    if wrong:
        raise Contradiction(
            f"rows {wrong[:5]} were proved to hold under {setting.threat}, and fell. One of the two is a mistake "
            "of Struthio: please report it with the model. Nothing of this audit should be trusted."
        )
    return bool(proof.certified.any())
