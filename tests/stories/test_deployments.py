"""`headgate up` and `prefect deploy --all` are two ways to the same deployments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient

from deployments.definitions import apply_images
from headgate.diskimages import ImageSettings, parse_diskimages
from tests.services.installation import Installation
from tests.services.until import until

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parent.parent.parent
EXPECTED = ["build-image", "gerrit-trigger", "housekeeping", "ready-nodes", "run-job", "upload-image"]
COMPARED = (
    *("name", "entrypoint", "work_pool_name", "work_queue_name", "description", "tags", "parameters", "parameter_openapi_schema"),
    *("enforce_parameter_schema", "paused", "job_variables", "concurrency_limit", "global_concurrency_limit"),
)


def deployments(ci: Installation) -> dict[str, dict[str, Any]]:
    found = ci.prefect("POST", "deployments/filter", {"sort": "NAME_ASC"})
    flows = {flow["id"]: flow["name"] for flow in ci.prefect("POST", "flows/filter", {})}
    return {
        deployment["id"]: {
            **{key: deployment[key] for key in COMPARED},
            "flow": flows[deployment["flow_id"]],
            "schedules": [(each["schedule"], each["active"], each["parameters"]) for each in deployment["schedules"]],
        }
        for deployment in found
    }


async def test_prefect_deploy_gives_the_same_deployments_and_work_goes_on(ci: Installation) -> None:
    applied = deployments(ci)
    assert [each["name"] for each in applied.values()] == EXPECTED
    for deployment in applied:
        ci.prefect("DELETE", f"deployments/{deployment}")
    assert deployments(ci) == {}

    environment = {**os.environ, "PREFECT_API_URL": ci.prefect_url, "PREFECT_HOME": str(ci.directory / "state" / "prefect")}
    prefect = Path(sys.executable).with_name("prefect")
    done = subprocess.run([prefect, "--no-prompt", "deploy", "--all"], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    for deployed, before in zip(deployments(ci).values(), applied.values(), strict=True):
        for key, value in before.items():
            assert deployed[key] == value, f"{key} of {before['name']}"
    change = ci.propose("passes")
    await ci.report(change)
    assert ci.verified(change) == 1


async def test_schedules_create_runs(ci: Installation) -> None:
    def scheduled() -> bool:
        wanted = {"deployments": {"name": {"any_": ["housekeeping"]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        return bool(ci.prefect("POST", "flow_runs/filter", wanted))

    await until(scheduled, "Prefect has planned the housekeeping")


async def test_housekeeping_runs_when_asked(ci: Installation) -> None:
    deployment = next(key for key, each in deployments(ci).items() if each["name"] == "housekeeping")
    run = ci.prefect("POST", f"deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    await until(lambda: ci.state(run) == "Completed", "the housekeeping has run")


def images(*sections: dict[str, Any]) -> dict[str, ImageSettings]:
    return parse_diskimages({"elements": ["ci-debian"]} | section for section in sections)


async def test_the_schedules_of_images_and_what_people_made_of_them_outlive_every_start(ci: Installation) -> None:
    def schedules() -> dict[str, list[tuple[str, bool]]]:
        found = ci.prefect("POST", "deployments/filter", {"deployments": {"tags": {"all_": ["image-schedule"]}}})
        return {each["name"]: [(every["schedule"]["cron"], every["active"]) for every in each["schedules"]] for each in found}

    configured = images({"name": "daily"}, {"name": "nightly", "cron": "0 3 * * *"}, {"name": "old", "rebuild-age": 7200})
    async with PrefectClient(ci.prefect_url) as client:
        try:
            await apply_images(client, configured)
            expected = {"daily": [("14 14 * * *", True)], "nightly": [("0 3 * * *", True)], "old": [("14 * * * *", True)]}
            assert schedules() == expected
            await apply_images(client, configured)
            assert schedules() == expected, "a second start changes nothing"

            nightly = await client.read_deployment_by_name("build-image/nightly")
            assert nightly.parameters == {"image": "nightly", "only_if_due": False}
            await client.update_deployment_schedule(nightly.id, nightly.schedules[0].id, active=False)
            await apply_images(client, configured)
            assert schedules()["nightly"] == [("0 3 * * *", False)], "a person's pause stays"

            await apply_images(client, images({"name": "nightly", "cron": "0 4 * * *"}))
            assert schedules() == {"nightly": [("0 4 * * *", True)]}, "a new time is a new schedule; what is not configured is gone"
        finally:
            await apply_images(client, {})
    assert schedules() == {}
