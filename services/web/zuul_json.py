"""Answers of the JSON API: the keys that Zuul's web API has, so that its users' scripts go on working."""

from __future__ import annotations

from typing import Any

from headgate.builds import buildset_result, results, seconds
from headgate.changes import Change
from headgate.records import Build, Item
from services.web.reader import BuildDetail, BuildRow, BuildsetDetail, Status, TenantStatus
from services.web.views import JobView, artifacts_of, item_view


def _ref(item: Item) -> dict[str, Any]:
    change: Change = item.change
    return {
        "project": change.project,
        "canonical_project": item.project,
        "branch": change.branch,
        "change": change.number,
        "patchset": change.patchset,
        "ref": change.ref,
        "ref_url": change.url,
        "newrev": change.commit,
    }


def build(build: Build, item: Item, web_url: str) -> dict[str, Any]:
    """A build as Zuul's `/api/.../build/{uuid}` and `/builds` show it. Times are ISO 8601 in UTC, durations seconds."""
    return {
        "uuid": build.id,
        "job_name": build.job,
        "result": build.result,
        "held": False,
        "start_time": build.started.isoformat() if build.started else None,
        "end_time": build.ended.isoformat() if build.ended else None,
        "duration": seconds(build, build.ended) if build.ended else None,
        "voting": build.voting,
        "attempt": build.attempt,
        "log_url": f"{web_url}/logs/{build.id}/",
        "pipeline": item.pipeline,
        "tenant": item.tenant,
        "event_id": item.event,
        "buildset": {"uuid": build.buildset},
        "ref": _ref(item),
        "error_detail": build.message or None,
        "artifacts": [{"name": artifact.name, "url": artifact.url} for artifact in artifacts_of(build)],
        "nodes": [{key: node.get(key) for key in ("name", "label", "provider", "host")} for node in build.nodes],
        "flow_run": build.flow_run,
    }


def build_detail(found: BuildDetail, web_url: str) -> dict[str, Any]:
    return build(found.build, found.item, web_url)


def build_rows(rows: tuple[BuildRow, ...], web_url: str) -> list[dict[str, Any]]:
    return [build(row.build, row.item, web_url) for row in rows]


def buildset(found: BuildsetDetail, web_url: str) -> dict[str, Any]:
    """A buildset with its builds and what was reported about it."""
    graph = found.buildset.graph
    result = found.buildset.problem or (buildset_result(graph, results(found.builds)) if graph else None)
    return {
        "uuid": found.buildset.id,
        "result": result,
        "message": "\n".join(found.buildset.messages),
        "pipeline": found.item.pipeline,
        "tenant": found.item.tenant,
        "event_id": found.item.event,
        "event_timestamp": found.item.enqueued.isoformat(),
        "refs": [_ref(found.item)],
        "builds": [build(one, found.item, web_url) for one in found.builds],
        "reports": [
            {"kind": report.kind, "labels": dict(report.labels), "sent": report.sent.isoformat() if report.sent else None}
            for report in found.reports
        ],
    }


def _job(job: JobView, web_url: str) -> dict[str, Any]:
    one = job.build
    return {
        "name": job.name,
        "uuid": one.id if one else None,
        "result": one.result if one else None,
        "voting": job.voting,
        "start_time": one.started.timestamp() if one and one.started else None,
        "end_time": one.ended.timestamp() if one and one.ended else None,
        "estimated_time": job.expected,
        "url": f"{web_url}/console/{one.id}" if one else None,
        "report_url": f"{web_url}/build/{one.id}" if one else None,
        "tries": one.attempt if one else 0,
        "pre_fail": one is not None and one.failing is not None,
        "waiting_status": job.why or None,
    }


def tenant_status(tenant: TenantStatus, web_url: str) -> dict[str, Any]:
    """Zuul's `/api/tenant/{tenant}/status`: pipelines, their change queues, heads, items, jobs."""
    pipelines = []
    for pipeline in tenant.pipelines:
        queues = []
        for queue in pipeline.queues:
            items = []
            for queued in queue.items:
                view = item_view(queued)
                change = queued.item.change
                items.append(
                    {
                        "id": queued.item.id,
                        "live": queued.item.live,
                        "active": queued.buildset is not None,
                        "item_ahead": queued.ahead or None,
                        "enqueue_time": int(queued.item.enqueued.timestamp() * 1000),
                        "failing_reasons": ["at least one job failed"] if view.kind == "failure" else [],
                        "state": view.text,
                        "refs": [{**_ref(queued.item), "id": str(change), "url": change.url, "title": change.subject}],
                        "jobs": [_job(job, web_url) for job in view.jobs],
                    }
                )
            queues.append({"name": queue.name, "window": queue.window, "heads": [items] if items else []})
        pipelines.append({"name": pipeline.name, "description": pipeline.description, "manager": pipeline.manager, "change_queues": queues})
    return {"tenant": tenant.name, "pipelines": pipelines, "problems": list(tenant.problems)}


def status(found: Status, web_url: str) -> dict[str, Any]:
    return {"tenants": [tenant_status(tenant, web_url) for tenant in found.tenants], "problems": list(found.problems)}
