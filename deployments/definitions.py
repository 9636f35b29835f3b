"""The Prefect deployments of Headgate, once, for both ways they come about: `headgate up` applies them to its server, and `prefect.yaml`
carries the same for `prefect deploy --all` (a test compares the two)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.exceptions import ObjectAlreadyExists
from prefect.filesystems import LocalFileSystem
from prefect.flows import Flow
from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_HOME

from flows.registry import FLOWS, POOLS
from headgate.diskimages import ImageSettings
from services.worker import HeadgateWorker
from tasks.installation import RESULTS_BLOCK

IMAGE_TAG = "image-schedule"


@dataclass(frozen=True, slots=True)
class Definition:
    """One deployment. `entrypoint` is a module path, `cron` in UTC."""

    flow: str
    entrypoint: str
    pool: str
    description: str
    cron: str = ""
    tags: tuple[str, ...] = field(default=("headgate",))

    @property
    def name(self) -> str:
        """`flow/deployment`, as Prefect writes it; both parts are the flow's name."""
        return f"{self.flow}/{self.flow}"


DEFINITIONS = (
    Definition(
        "gerrit-trigger",
        "flows.gerrit_trigger:gerrit_trigger",
        "changes",
        "Tests one change of one pipeline: merge, jobs, vote. Retry repeats only what has no result.",
    ),
    Definition(
        "run-job",
        "flows.run_job:run_job",
        "jobs",
        "Runs one job of a change. Retry runs it again on the same merged commit; the vote follows.",
    ),
    Definition(
        "housekeeping",
        "flows.housekeeping:housekeeping",
        "changes",
        "Destroys what a crash left and forgets what is too old.",
        "*/5 * * * *",
    ),
    Definition(
        "ready-nodes",
        "flows.ready_nodes:ready_nodes",
        "changes",
        "Keeps nodes of some labels ready ahead of requests.",
    ),
    Definition(
        "build-image",
        "flows.build_image:build_image",
        "images",
        "Builds one image, uploads it everywhere it is wanted, proves it there, and only then uses it. Retry goes on where it stopped.",
    ),
    Definition(
        "upload-image",
        "flows.upload_image:upload_image",
        "images",
        "Brings one build to one provider, proves it and uses it. Retry goes on where it stopped.",
    ),
)


async def apply_images(client: PrefectClient, images: Mapping[str, ImageSettings]) -> None:
    """A deployment `build-image/NAME` with its own schedule for each configured image; those of images that are gone go too. Apart from
    `apply` because they depend on the installation; a pause that people set on a schedule stays."""
    flow: Flow[..., Any] = FLOWS["build-image"]
    wanted = FlowFilter(name=FlowFilterName(any_=[flow.name]))
    known = {each.name: each for each in await client.read_deployments(flow_filter=wanted) if IMAGE_TAG in each.tags}
    for name in known.keys() - images.keys():
        await client.delete_deployment(known[name].id)
    for name, image in images.items():
        cron, if_due = image.schedule
        parameters = {"image": name, "only_if_due": if_due}
        before = known[name].schedules if name in known else []
        active = next((each.active for each in before if getattr(each.schedule, "cron", None) == cron), True)
        await client.create_deployment(
            flow_id=await client.create_flow(flow),
            name=name,
            entrypoint="flows.build_image:build_image",
            work_pool_name="images",
            description=f"Builds the image {name} ({'if it is old enough' if if_due else 'always'}).",
            tags=["headgate", IMAGE_TAG],
            parameters=parameters,
            schedules=[_cron(cron, active)],  # Prefect takes away those that are not named again
            parameter_openapi_schema=_schema(flow),
            enforce_parameter_schema=False,
        )


async def apply(client: PrefectClient) -> None:
    """Make the work pools and deployments what is written here; repeatable. Limits people set on a pool stay."""
    for pool, description in POOLS.items():
        template = HeadgateWorker.get_default_base_job_template()
        with suppress(ObjectAlreadyExists):
            await client.create_work_pool(
                WorkPoolCreate(name=pool, type=HeadgateWorker.type, description=description, base_job_template=template)
            )
    block = LocalFileSystem(basepath=str(PREFECT_HOME.value() / "storage"))
    await block.save(RESULTS_BLOCK, overwrite=True, client=client)
    for definition in DEFINITIONS:
        flow: Flow[..., Any] = FLOWS[definition.flow]
        await client.create_deployment(
            flow_id=await client.create_flow(flow),
            name=definition.flow,
            entrypoint=definition.entrypoint,
            work_pool_name=definition.pool,
            description=definition.description,
            tags=list(definition.tags),
            schedules=[_schedule(definition)] if definition.cron else None,
            parameter_openapi_schema=_schema(flow),
            enforce_parameter_schema=False,
        )


def _schedule(definition: Definition) -> Any:
    return _cron(definition.cron)


def _cron(line: str, active: bool = True) -> Any:
    from prefect.client.schemas.actions import DeploymentScheduleCreate

    schedule: Schedule = Cron(line, timezone="UTC", active=active)
    return DeploymentScheduleCreate.from_schedule(schedule)


def _schema(flow: Flow[..., Any]) -> dict[str, Any]:
    return flow.parameters.model_dump(exclude_unset=True)  # as `prefect deploy` does
