"""The configuration files of all services, as an operator would write them."""

from __future__ import annotations

import sys
from pathlib import Path

from plan import ADMIN_PASSWORD, Plan

PACKAGED = Path(sys.prefix, "etc")
"""Paste configurations, as the packages bring them."""

DRIVERS = {"guests": "guest_nova", "libvirt": "guest_libvirt"}
"""Nova's driver for each kind of hypervisor, in `plugins`."""


def section(name: str, **options: object) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())


def write(plan: Plan) -> None:
    """Everything below `etc/`, and the directories that it names."""
    for directory in ("etc", "log"):
        (plan.directory / directory).mkdir(exist_ok=True)
    (plan.directory / "etc" / "keystone.conf").write_text(keystone(plan))
    for region in plan.regions:
        for directory in ("images", "staging", "tasks", "nova/instances", "neutron", "cinder", "lock"):
            (plan.directory / region / directory).mkdir(parents=True)
        (plan.directory / "etc" / region).mkdir()
        for name, text in (("glance-api", glance), ("neutron", neutron), ("placement", placement), ("nova", nova), ("cinder", cinder)):
            plan.configuration(region, f"{name}.conf").write_text(text(plan, region))


def login(plan: Plan, name: str, region: str, **more: object) -> str:
    return section(
        name,
        auth_type="password",
        auth_url=f"{plan.url('keystone')}/v3",
        username="admin",
        password=ADMIN_PASSWORD,
        project_name="admin",
        user_domain_id="default",
        project_domain_id="default",
        region_name=region,
        **more,
    )


def tokens(plan: Plan, region: str) -> str:
    uri = f"{plan.url('keystone')}/v3"
    return login(
        plan, "keystone_authtoken", region, www_authenticate_uri=uri, service_token_roles="service", service_token_roles_required="true"
    )


def keystone(plan: Plan) -> str:
    return (
        section("database", connection=plan.database("keystone"))
        + section("identity", password_hash_rounds=4)
        + section("cache", enabled="true", backend="oslo_cache.dict")
        + section("fernet_tokens", key_repository=plan.directory / "fernet")
        + section("credential", key_repository=plan.directory / "credentials")
    )


def glance(plan: Plan, region: str) -> str:
    root = plan.directory / region
    return (
        section(
            "DEFAULT",
            enabled_backends="files:file",
            worker_self_reference_url=plan.url("glance", region),
            node_staging_uri=f"file://{root}/staging",
        )
        + section("database", connection=plan.database(f"{region}-glance"))
        + section("glance_store", default_backend="files")
        + section("files", filesystem_store_datadir=root / "images")
        + section("os_glance_staging_store", filesystem_store_datadir=root / "staging")
        + section("os_glance_tasks_store", filesystem_store_datadir=root / "tasks")
        + section("oslo_concurrency", lock_path=root / "lock")
        + section("paste_deploy", flavor="keystone", config_file=PACKAGED / "glance" / "glance-api-paste.ini")
        + tokens(plan, region)
    )


def neutron(plan: Plan, region: str) -> str:
    """No agents: our mechanism driver binds every port, and addresses reach servers by the config drive."""
    root = plan.directory / region
    return (
        section(
            "DEFAULT",
            core_plugin="ml2",
            service_plugins="router",
            transport_url="fake:///",
            api_paste_config=PACKAGED / "neutron" / "api-paste.ini",
            state_path=root / "neutron",
            rpc_workers=0,
            notify_nova_on_port_status_changes="false",
            notify_nova_on_port_data_changes="false",
            dhcp_agent_notification="false",
        )
        + section("database", connection=plan.database(f"{region}-neutron"))
        + section("ml2", type_drivers="local", tenant_network_types="local", mechanism_drivers="guests", extension_drivers="port_security")
        + section("quotas", quota_port=5000, quota_network=100, quota_subnet=100, quota_floatingip=200)
        + section("oslo_concurrency", lock_path=root / "lock")
        + tokens(plan, region)
    )


def placement(plan: Plan, region: str) -> str:
    return section("placement_database", connection=plan.database(f"{region}-placement"), sync_on_startup="true") + tokens(plan, region)


def cinder(plan: Plan, region: str) -> str:
    """Scheduler, volume service and API are threads of one process, as Nova's. Volumes are nowhere (`plugins/guest_cinder.py`)."""
    root = plan.directory / region
    return (
        section(
            "DEFAULT",
            host=region,
            my_ip="127.0.0.1",
            state_path=root / "cinder",
            transport_url="fake:///",
            enabled_backends="guests",
            auth_strategy="keystone",
            api_paste_config=PACKAGED / "cinder" / "api-paste.ini",
            resource_query_filters_file=PACKAGED / "cinder" / "resource_filters.json",
            glance_api_servers=plan.url("glance", region),
        )
        + section("guests", volume_driver="guest_cinder.GuestVolumes", volume_backend_name="guests")
        + section("database", connection=plan.database(f"{region}-cinder"))
        + section("coordination", backend_url=f"file://{root}/cinder")
        + section("oslo_concurrency", lock_path=root / "lock")
        + tokens(plan, region)
        + login(plan, "service_user", region, send_service_user_token="true")
    )


def nova(plan: Plan, region: str) -> str:
    """API, conductor, scheduler and compute are threads of one process over oslo.messaging's `fake://`, as in nova's functional tests."""
    root = plan.directory / region
    helper = f"{sys.prefix}/bin/privsep-helper --config-file {plan.configuration(region, 'nova.conf')}"
    return (
        section(
            "DEFAULT",
            host=f"{region}-compute",
            my_ip="127.0.0.1",
            state_path=root / "nova",
            transport_url="fake:///",
            compute_driver=f"{DRIVERS[plan.regions[region]['hypervisor']]}.GuestDriver",
            vif_plugging_is_fatal="false",
            vif_plugging_timeout=0,
            rpc_response_timeout=300,
            long_rpc_timeout=600,
            sync_power_state_interval=-1,
            heal_instance_info_cache_interval=-1,
            running_deleted_instance_poll_interval=0,
            instance_build_timeout=0,
            cpu_allocation_ratio=16,
        )
        + section("api_database", connection=plan.database(f"{region}-nova-api"))
        + section("database", connection=plan.database(f"{region}-nova-cell1"))
        + section("wsgi", api_paste_config=PACKAGED / "nova" / "api-paste.ini")
        + section("compute", resource_provider_association_refresh=0)
        + section("filter_scheduler", track_instance_changes="false")
        + section("oslo_concurrency", lock_path=root / "lock")
        + section("vif_plug_linux_bridge_privileged", helper_command=helper)
        + section("nova_sys_admin", helper_command=helper)
        + section("vnc", enabled="false")
        + section(
            "libvirt",
            virt_type="qemu",
            connection_uri=f"qemu+unix:///system?socket={root}/libvirt/run/libvirt-sock",
            images_type="qcow2",
            inject_partition=-2,
            cpu_mode="none",
        )
        + tokens(plan, region)
        + login(plan, "placement", region)
        + login(plan, "service_user", region, send_service_user_token="true")
        + login(plan, "glance", region, api_servers=plan.url("glance", region))
        + login(plan, "neutron", region)
        + login(plan, "cinder", region, os_region_name=region, catalog_info="block-storage::publicURL")
    )
