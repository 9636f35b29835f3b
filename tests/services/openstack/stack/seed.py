"""Catalog, projects, flavors, networks, an image: through the public APIs, as an operator would."""

from __future__ import annotations

import json

from openstack.connection import Connection
from plan import ADMIN_PASSWORD, CATALOG, Plan
from processes import wait_for_answer

TYPES = {
    "glance": ("image", ""),
    "placement": ("placement", ""),
    "neutron": ("network", ""),
    "nova": ("compute", "/v2.1"),
    "cinder": ("block-storage", "/v3"),
}
IMAGE = "debian-12"


def login(plan: Plan, name: str, password: str) -> dict[str, str]:
    return {
        "auth_url": f"{plan.url('keystone')}/v3",
        "username": name,
        "password": password,
        "project_name": name,
        "user_domain_id": "default",
        "project_domain_id": "default",
    }


def fill(plan: Plan) -> None:
    wait_for_answer(f"{plan.url('keystone')}/v3")
    admin = login(plan, "admin", ADMIN_PASSWORD)
    _fill_keystone(plan, Connection(auth=admin, region_name=plan.first))
    for region in plan.regions:
        for service in plan.services(region):
            wait_for_answer(plan.url(service, region))
        _fill_region(plan, region, Connection(auth=admin, region_name=region))
    clouds = {}
    for name in ("admin", *plan.projects):
        entry = {"auth": login(plan, name, ADMIN_PASSWORD if name == "admin" else name), "identity_api_version": "3"}
        clouds |= {f"{name}-{region}": entry | {"region_name": region} for region in plan.regions}
        clouds[name] = entry | {"regions": list(plan.regions)}
    (plan.directory / "clouds.yaml").write_text(json.dumps({"clouds": clouds}, indent=1))  # JSON is YAML


def _fill_keystone(plan: Plan, admin: Connection) -> None:
    identity = admin.identity
    # Neutron lets Nova delete a project's port only under a service token of this role
    role = identity.find_role("service")
    identity.assign_project_role_to_user(identity.find_project("admin"), identity.find_user("admin"), role)
    for region in plan.regions:
        if region != plan.first:
            identity.create_region(id=region)
    keystone = identity.find_service("keystone")
    services = {name: identity.create_service(type=kind, name=name) for name, (kind, _) in TYPES.items()}
    for region in plan.regions:
        urls = {services[name].id: plan.url(name, region) + TYPES[name][1] for name in plan.services(region)}
        if region != plan.first:
            urls[keystone.id] = f"{plan.url('keystone')}/v3"
        for service_id, url in urls.items():
            for interface in ("public", "internal"):
                identity.create_endpoint(service_id=service_id, interface=interface, url=url, region_id=region)
    member = identity.find_role("member")
    for name in plan.projects:
        project = identity.create_project(name=name, domain_id="default")
        user = identity.create_user(name=name, password=name, domain_id="default", default_project_id=project.id)
        identity.assign_project_role_to_user(project, user, member)
    (plan.directory / CATALOG).touch()


def _fill_region(plan: Plan, region: str, admin: Connection) -> None:
    facts = plan.regions[region]
    for name, (cores, ram, disk) in plan.flavors.items():
        admin.compute.create_flavor(name=name, vcpus=cores, ram=ram, disk=disk)
    network = admin.network
    inside = network.create_network(name="inside", shared=True, port_security_enabled=False)
    subnet = network.create_subnet(name="inside", network_id=inside.id, ip_version=4, cidr=facts["subnet"], enable_dhcp=False)
    outside = network.create_network(name="outside", is_router_external=True, port_security_enabled=False)
    network.create_subnet(name="outside", network_id=outside.id, ip_version=4, cidr=facts["floating_subnet"], enable_dhcp=False)
    router = network.create_router(name="router", external_gateway_info={"network_id": outside.id})
    network.add_interface_to_router(router, subnet_id=subnet.id)
    admin.image.create_image(IMAGE, data=b"\0" * 512, disk_format="raw", container_format="bare", visibility="public")
    for name in plan.projects:
        admin.compute.update_quota_set(admin.identity.find_project(name).id, **facts["quotas"])
