"""Nova and Placement: for each region one Placement API, and one process that is Nova's conductor, scheduler, compute and API."""

from __future__ import annotations

import os
import shlex
import sys
import time

os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"  # nova.cmd.manage would patch again
sys.argv[:] = ["nova"]

from nova import monkey_patch

monkey_patch.patch(backend="threading")

# ruff: noqa: E402 - only what was imported after the patch is patched
import databases
import nova.api.openstack.compute.routes
import nova.compute.manager
import nova.conductor.manager
import nova.conf
import nova.scheduler.manager
import nova.virt
import nova.virt.fake
import os_brick
import os_vif
import placement.deploy
import placement.handler
import placement.wsgi
from nova import config, context, objects, service, utils
from nova.api.openstack import wsgi_app
from nova.cmd import manage
from nova.compute import rpcapi as compute_rpcapi
from nova.conductor import rpcapi as conductor_rpcapi
from nova.db import migration
from nova.objects import host_mapping
from nova.scheduler import rpcapi as scheduler_rpcapi
from oslo_log import log as logging
from oslo_privsep import priv_context
from paste import deploy
from plan import CATALOG, Plan
from processes import called, fork, fork_and_wait, serve, wait_for_answer


def start(plan: Plan) -> None:
    nova.virt.__path__ += os.environ["PYTHONPATH"].split(os.pathsep)  # a compute_driver is looked up below nova.virt only
    _make_databases(plan)
    for region in plan.regions:
        fork(_run_placement, plan, region, log=plan.directory / "log" / f"{region}-placement.log")
        fork(_run_nova, plan, region, log=plan.directory / "log" / f"{region}-nova.log")


def _configure(plan: Plan, region: str) -> None:
    called("nova")
    config.parse_args(["nova"], default_config_files=[str(plan.configuration(region, "nova.conf"))])


def _make_databases(plan: Plan) -> None:
    def make_tables() -> None:
        _configure(plan, plan.first)
        migration.db_sync(database="api")
        migration.db_sync(database="main")

    def make_cells(region: str) -> None:
        _configure(plan, region)
        objects.register_all()
        cells = manage.CellV2Commands()
        cells.map_cell0(plan.database(f"{region}-nova-cell0"))
        cells.create_cell(name="cell1")

    for kind in ("api", "cell1"):
        databases.create(plan, f"{plan.first}-nova-{kind}")
    fork_and_wait(make_tables)
    for region in plan.regions:
        for kind, like in (("cell0", "cell1"), ("cell1", "cell1"), ("api", "api")):
            if region != plan.first or kind == "cell0":
                databases.create(plan, f"{region}-nova-{kind}", like=f"{plan.first}-nova-{like}")
        databases.create(plan, f"{region}-placement")
    for region in plan.regions:  # only now: the first region's were copied
        fork_and_wait(make_cells, region)


def _run_placement(plan: Plan, region: str) -> None:
    os.environ["OS_PLACEMENT_CONFIG_DIR"] = str(plan.directory / "etc" / region)
    serve(placement.wsgi.init_application(), plan.port("placement", region))


def _run_nova(plan: Plan, region: str) -> None:
    wait_for_answer(plan.url("placement", region))
    _configure(plan, region)
    logging.setup(nova.conf.CONF, "nova")
    priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
    objects.register_all()
    os_brick.setup(nova.conf.CONF)
    os_vif.initialize()
    wait_for_answer(f"{plan.url('keystone')}/v3")
    while not (plan.directory / CATALOG).exists():
        time.sleep(0.1)
    host = nova.conf.CONF.host
    for binary, topic, more in (
        ("nova-conductor", conductor_rpcapi.RPC_TOPIC, {}),
        ("nova-scheduler", scheduler_rpcapi.RPC_TOPIC, {}),
        ("nova-compute", compute_rpcapi.RPC_TOPIC, {"topic_alt": compute_rpcapi.RPC_TOPIC_ALT}),
    ):
        service.Service.create(binary=binary, topic=topic, host=host, **more).start()
    host_mapping.discover_hosts(context.get_admin_context())
    wsgi_app._setup_service(region, "osapi_compute")
    serve(deploy.loadapp(f"config:{nova.conf.CONF.wsgi.api_paste_config}", name="osapi_compute"), plan.port("nova", region))
