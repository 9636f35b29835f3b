"""Every flow by its name, and the work pools they run in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import Flow

from flows.build_image import build_image
from flows.gerrit_trigger import gerrit_trigger
from flows.housekeeping import housekeeping
from flows.provision_nodes import provision_nodes
from flows.ready_nodes import ready_nodes
from flows.run_job import run_job
from flows.upload_image import upload_image

FLOWS: Mapping[str, Flow[..., Any]] = {
    flow.name: flow for flow in (gerrit_trigger, run_job, provision_nodes, ready_nodes, housekeeping, build_image, upload_image)
}

POOLS: Mapping[str, str] = {
    "changes": "One run per change in a pipeline; they mostly wait for their jobs, so leave this pool unlimited.",
    "jobs": "One run per job. Limit this pool to bound how many jobs run at once.",
    "images": "One run per image build or upload; a build keeps a processor and several gigabytes of memory busy.",
}
"""Work pools and what they are for. Changes and jobs are apart because a change holds its place while its jobs wait for theirs."""
