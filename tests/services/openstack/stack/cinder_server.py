"""Cinder, for each region that has volumes: one process that is its scheduler, its volume service and its API."""

from __future__ import annotations

import os
import sys

os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"
sys.argv[:] = ["cinder"]

from cinder import monkey_patch

monkey_patch.patch()

# ruff: noqa: E402 - only what was imported after the patch knows of it
import databases
from cinder import coordination, objects, rpc, service, version
from cinder.common import config
from cinder.db import migration
from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import wsgi
from plan import Plan
from processes import fork, fork_and_wait, serve, wait_for_answer

BACKEND = "guests"


def start(plan: Plan) -> None:
    regions = [region for region, facts in plan.regions.items() if facts["volumes"]]
    for region in regions:
        databases.create(plan, f"{region}-cinder")
        fork_and_wait(_make_tables, plan, region)
        fork(_run, plan, region, log=plan.directory / "log" / f"{region}-cinder.log")


def _configure(plan: Plan, region: str) -> None:
    objects.register_all()
    arguments = ["--config-file", str(plan.configuration(region, "cinder.conf"))]
    cfg.CONF(arguments, project="cinder", version=version.version_string())
    logging.setup(cfg.CONF, "cinder")
    config.set_middleware_defaults()


def _make_tables(plan: Plan, region: str) -> None:
    _configure(plan, region)
    migration.db_sync()


def _run(plan: Plan, region: str) -> None:
    _configure(plan, region)
    rpc.init(cfg.CONF)
    coordination.COORDINATOR.start()
    wait_for_answer(f"{plan.url('keystone')}/v3")
    host = cfg.CONF.host
    service.Service.create(binary="cinder-scheduler", host=host).start()
    service.Service.create(binary="cinder-volume", host=f"{host}@{BACKEND}", service_name=BACKEND).start()
    serve(wsgi.Loader(cfg.CONF).load_app(name="osapi_volume"), plan.port("cinder", region))
