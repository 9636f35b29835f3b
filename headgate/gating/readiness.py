"""May a change merge, as far as its server says, once the pipeline has voted as it does on success?"""

from __future__ import annotations

from headgate.configuration import Pipeline
from headgate.gating.facts import Known


def own_labels(pipeline: Pipeline, connection: str) -> frozenset[str]:
    """Labels that the pipeline itself sets on success; that these are missing keeps no change out."""
    return frozenset(label for reporter in pipeline.success if reporter.connection == connection for label in reporter.labels)


def obstacle(pipeline: Pipeline, known: Known) -> str:
    """Why the change cannot merge, "" if it can."""
    change = known.change
    if change.is_ref:
        return ""
    if change.wip:
        return "it is work in progress"
    if not (change.open or change.merged):
        return "it is closed"
    own = own_labels(pipeline, change.connection)
    if missing := known.missing_labels - own:
        return f"labels are missing: {', '.join(sorted(missing))}"
    for expression in known.unsatisfied:
        if not any(f"label:{label}" in expression for label in own):
            return f"a submit requirement is not met: {expression}"
    return ""
