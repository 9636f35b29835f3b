"""What a job's playbooks get to know beside `zuul`: the inventory and the known host keys. Names and shapes are Zuul's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from headgate.build_facts import LOCALHOST, BuildFacts, NodeFacts
from headgate.jobs import FrozenJob, Nodeset
from headgate.zuul_variables import zuul_variables


def node_variables(node: NodeFacts) -> dict[str, Any]:
    """Host variables of a node: how Ansible reaches it, and `nodepool` (also `zuul_node`), which says where it comes from."""
    local = node.connection == "local"
    described = {
        "label": node.label,
        "az": node.zone or None,
        "cloud": node.cloud or None,
        "provider": node.provider,
        "region": node.region or None,
        "host_id": None,
        "external_id": node.external_id or None,
        "uuid": node.id,
        "slot": None,
        "interface_ip": node.host or "127.0.0.1",
        "public_ipv4": node.host if ":" not in node.host else "",
        "private_ipv4": node.host if ":" not in node.host else "",
        "public_ipv6": node.host if ":" in node.host else "",
        "private_ipv6": "",
        "node_properties": dict(node.attributes),
        "reuse": False,
    }
    reached: dict[str, Any] = {"ansible_connection": node.connection, "ansible_python_interpreter": node.python_path}
    if not local:
        reached |= {"ansible_host": node.host, "ansible_port": node.port, "ansible_user": node.username}
    return {**reached, "nodepool": described, "zuul_node": described, "zuul_user_dir": node.home}


def inventory(
    job: FrozenJob, nodeset: Nodeset, nodes: Mapping[str, NodeFacts], facts: BuildFacts, unreachable: Collection[str] = ()
) -> dict[str, Any]:
    """The inventory in Ansible's YAML shape, for untrusted playbooks. `nodes` has one entry for each name of the nodeset; localhost is
    Ansible's implicit one.

    Job variables lie over those of included files, and those over what parent jobs returned; extra variables and secrets are not here,
    they go to each playbook. What a change or another job says is never a template. What the job says is one. `unreachable` are the nodes
    that an earlier playbook found to be so."""
    return _inventory(job, nodeset, nodes, facts, _plain, {}, unreachable=unreachable)


def trusted_inventory(
    job: FrozenJob,
    nodeset: Nodeset,
    nodes: Mapping[str, NodeFacts],
    facts: BuildFacts,
    frozen: Mapping[str, Mapping[str, Any]],
    secrets: Collection[str] = (),
    unreachable: Collection[str] = (),
) -> dict[str, Any]:
    """The same for a trusted playbook. What the job says is no template there, because it would be evaluated beside secrets: in place
    of each variable that is one stands its value in `frozen` (host to variables; evaluated before, without any secret), or nothing.
    What the job says is in `unsafe_vars`. `secrets` are the variables that the playbook gets besides, which win."""
    templates = template_names(job, facts)

    def fixed(values: Mapping[str, Any]) -> Any:
        return {name: value for name, value in unsafe(values).items() if name not in templates}

    made = _inventory(job, nodeset, nodes, facts, fixed, frozen, secrets, unreachable)
    made["all"]["vars"]["unsafe_vars"] = unsafe({**_included(facts), **job.group_vars.get("all", {}), **job.vars, **job.extra_vars})
    return made


def _inventory(
    job: FrozenJob,
    nodeset: Nodeset,
    nodes: Mapping[str, NodeFacts],
    facts: BuildFacts,
    said: Callable[[Mapping[str, Any]], Any],
    frozen: Mapping[str, Mapping[str, Any]],
    secrets: Collection[str] = (),
    unreachable: Collection[str] = (),
) -> dict[str, Any]:
    def evaluated(host: str) -> Any:
        return unsafe({name: value for name, value in frozen.get(host, {}).items() if name not in secrets})

    return {
        "all": {
            "hosts": {
                name: {**_plain(node_variables(node)), **said(job.host_vars.get(name, {})), **evaluated(name)}
                for name, node in nodes.items()
            },
            "vars": {
                **unsafe(facts.parent_data),
                **said(_included(facts)),
                **said(job.group_vars.get("all", {})),
                **said(job.vars),
                **evaluated(LOCALHOST),
                "zuul": unsafe(zuul_variables(job, facts)),
            },
            "children": {
                "zuul_unreachable": {"hosts": {name: {} for name in nodes if name in unreachable}},
                **{
                    group.name: {"hosts": {node: {} for node in group.nodes}, "vars": said(job.group_vars.get(group.name, {}))}
                    for group in nodeset.groups
                },
            },
        }
    }


def _included(facts: BuildFacts) -> dict[str, Any]:
    return {name: value for _, _, values in facts.included_vars for name, value in values.items()}


def template_names(job: FrozenJob, facts: BuildFacts) -> frozenset[str]:
    """The variables of the job that are, in some place, a template."""
    places = (_included(facts), job.vars, job.extra_vars, *job.host_vars.values(), *job.group_vars.values())
    return frozenset(name for place in places for name, value in place.items() if _is_template(value))


def _is_template(value: Any) -> bool:
    if isinstance(value, str):
        return "{{" in value or "{%" in value or "{#" in value
    if isinstance(value, Mapping):
        return any(_is_template(inner) for pair in value.items() for inner in pair)
    return isinstance(value, Sequence) and any(_is_template(inner) for inner in value)


def extra_variables(job: FrozenJob, facts: BuildFacts, frozen: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    """The job's extra variables. For a trusted playbook (`frozen` is there) a template among them is its value, if that is the same
    everywhere; otherwise each host has its own in the inventory."""
    if frozen is None:
        return dict(job.extra_vars)
    found = {}
    for name, value in job.extra_vars.items():
        if name not in template_names(job, facts):
            found[name] = value
        elif frozen and all(name in values and values[name] == next(iter(frozen.values())).get(name) for values in frozen.values()):
            found[name] = next(iter(frozen.values()))[name]
    return dict(unsafe(found))


class Unsafe(str):
    """A text that Ansible must not take for a template: `!unsafe` in YAML."""

    __slots__ = ()


def unsafe(value: Any) -> Any:
    """`value` as plain data, every text in it that could be a template marked."""
    if isinstance(value, str):
        return Unsafe(value) if "{" in value else value
    if isinstance(value, Mapping):
        return {str(name): unsafe(inner) for name, inner in value.items()}
    if isinstance(value, Sequence):
        return [unsafe(inner) for inner in value]
    return value


def _plain(value: Any) -> Any:
    """Mappings and tuples as the dicts and lists that YAML and JSON have."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return value


def known_hosts(nodes: Sequence[NodeFacts]) -> str:
    """The known_hosts file of a build: the keys its nodes were launched with, and no other."""
    lines = []
    for node in nodes:
        if node.connection == "ssh":
            name = node.host if node.port == 22 else f"[{node.host}]:{node.port}"
            lines += [f"{name} {key}\n" for key in node.host_keys]
    return "".join(dict.fromkeys(lines))
