"""Is this model robust? An interval, the doubts about it, and the rows to look at.

`struthio.audit(...)` is `struthio.audit.audit(...)`.
"""

from struthio.audit.findings import Findings
from struthio.audit.proof import Contradiction
from struthio.audit.run import Progress, audit
from struthio.audit.store import Store
from struthio.audit.summary import Audit, summarise
from struthio.audit.verdict import Count, Verdict
from struthio.rooms import callable_as

__all__ = ["Audit", "Contradiction", "Count", "Findings", "Progress", "Store", "Verdict", "audit", "summarise"]

callable_as(__name__, audit)
