"""What a job's playbooks get to know: the inventory, the `zuul` variables, the known host keys. Names and shapes are Zuul's.

Paths are those inside the build's sandbox, where every build looks the same.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote_plus

from headgate.changes import Change
from headgate.jobs import FrozenJob, Nodeset, Playbook

BUILD = "/build"
WORK = f"{BUILD}/work"
LOGS = f"{WORK}/logs"
SOURCES = f"{WORK}/src"
RESULTS = f"{WORK}/results.json"
INVENTORY = f"{BUILD}/ansible/inventory.yaml"
LOCALHOST = "localhost"


class NodeFacts(Protocol):
    """What is asked of a node here: `providers.base.Node` has it."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def external_id(self) -> str: ...
    @property
    def connection(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def username(self) -> str: ...
    @property
    def home(self) -> str: ...
    @property
    def python_path(self) -> str: ...
    @property
    def host_keys(self) -> tuple[str, ...]: ...
    @property
    def region(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def cloud(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class ProjectState:
    """One repository of the workspace: `name` is canonical, `commit` what `checkout` (a branch or tag) stands for in this build,
    `required` whether the job asks for it (rather than a change of the item)."""

    name: str
    commit: str
    checkout: str
    checkout_description: str = "zuul branch"
    required: bool = False
    is_tag: bool = False


@dataclass(frozen=True, slots=True)
class ItemChange:
    """A change of the item, or of one ahead of it, with its project's canonical name."""

    change: Change
    project: str


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What is known of one build before it starts. `items` are all changes it is tested on, the last one its own."""

    build: str
    buildset: str
    event_id: str
    tenant: str
    pipeline: str
    items: tuple[ItemChange, ...]
    projects: tuple[ProjectState, ...]
    attempt: int = 1
    post_review: bool = False
    executor: str = ""
    ansible_version: str = ""
    artifacts: tuple[Mapping[str, Any], ...] = ()
    parent_data: Mapping[str, Any] = field(default_factory=dict)
    buildset_refs: tuple[ItemChange, ...] = ()
    """The item's own changes; () for the last of `items` alone."""
    build_refs: tuple[ItemChange, ...] = ()
    """Those of them that the job runs for; () for the last of `items` alone."""
    child_jobs: tuple[str, ...] = ()
    """The jobs that depend on this one directly."""
    commits: Mapping[tuple[str, str, bool], str] = field(default_factory=dict)
    """Where repositories with playbooks are: (canonical project, branch, trusted) to commit."""
    included_vars: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    """What the job's include-vars hold: (canonical project, file, variables), the later ones above the earlier."""


def workspace_path(scheme: str, project: str) -> str:
    """Where a repository is in the workspace and below the user's home on a node: `src/...` by the job's workspace-scheme.
    Raises `ValueError` for a scheme that is not golang, flat or unique."""
    host, _, name = project.partition("/")
    match scheme:
        case "golang":
            return f"src/{project}"
        case "flat":
            return f"src/{name.rpartition('/')[2]}"
        case "unique":
            return f"src/{host}/{quote_plus(name)}"
    raise ValueError(f"workspace-scheme {scheme!r} is not one of golang, flat, unique")


def project_variables(scheme: str, project: str) -> dict[str, str]:
    host, _, name = project.partition("/")
    return {
        "name": name,
        "short_name": name.rpartition("/")[2],
        "canonical_hostname": host,
        "canonical_name": project,
        "src_dir": workspace_path(scheme, project),
    }


def change_variables(scheme: str, item: ItemChange) -> dict[str, Any]:
    """One change as it appears in `zuul` itself, `zuul.items` and `zuul.buildset_refs`."""
    change = item.change
    if change.is_ref:
        return _ref_variables(scheme, item)
    return {
        "project": project_variables(scheme, item.project),
        "branch": change.branch,
        "ref": change.ref,
        "change": str(change.number),
        "patchset": str(change.patchset),
        "change_url": change.url,
        "commit_id": change.commit,
        "change_message": change.message,
        "message": base64.b64encode(change.message.encode()).decode(),
        "topic": change.topic or None,
    }


def _ref_variables(scheme: str, item: ItemChange) -> dict[str, Any]:
    """A branch or tag under test: no change, but from where to where it moved, as far as the event said."""
    change = item.change
    moved = {"oldrev": change.parents[0] if change.parents else "", "newrev": change.commit}
    return {
        "project": project_variables(scheme, item.project),
        "ref": change.ref,
        "change_url": change.url,
        "commit_id": change.commit,
        **({"branch": change.branch} if change.branch else {}),
        **({"tag": change.ref.removeprefix("refs/tags/")} if change.ref.startswith("refs/tags/") else {}),
        **{name: commit for name, commit in moved.items() if commit.strip("0")},
    }


def zuul_variables(job: FrozenJob, facts: BuildFacts) -> dict[str, Any]:
    """The variable `zuul`, except what belongs to one playbook."""
    own = change_variables(job.workspace_scheme, facts.items[-1])

    def references(changes: Sequence[ItemChange]) -> list[dict[str, Any]]:
        found = [change_variables(job.workspace_scheme, change) for change in changes or facts.items[-1:]]
        return [{**change, "src_dir": change["project"]["src_dir"]} for change in found]

    return {
        **own,
        "ansible_version": facts.ansible_version,
        "artifacts": [dict(artifact) for artifact in facts.artifacts],
        "attempts": facts.attempt,
        "build": facts.build,
        "build_refs": references(facts.build_refs),
        "buildset": facts.buildset,
        "buildset_refs": references(facts.buildset_refs),
        "child_jobs": list(facts.child_jobs),
        "deduplicate": job.deduplicate,
        "event_id": facts.event_id,
        "executor": {
            "hostname": facts.executor,
            "inventory_file": INVENTORY,
            "log_root": LOGS,
            "result_data_file": RESULTS,
            "src_root": SOURCES,
            "work_root": WORK,
        },
        "image_build_name": job.image_build_name,
        "include_vars": [{"project": {"canonical_name": project}, "name": name} for project, name, _ in facts.included_vars],
        "items": [change_variables(job.workspace_scheme, item) for item in facts.items],
        "job": job.name,
        "jobtags": list(job.tags),
        "max_attempts": job.attempts,
        "override_checkout": job.override_checkout,
        "pipeline": facts.pipeline,
        "playbook_context": playbook_context(job, facts.commits),
        "post_review": facts.post_review,
        "post_timeout": job.post_timeout,
        "pre_timeout": job.pre_timeout,
        "projects": {
            state.name: {
                **project_variables(job.workspace_scheme, state.name),
                "checkout": state.checkout,
                "checkout_description": state.checkout_description,
                "commit": state.commit,
                "required": state.required,
            }
            for state in facts.projects
        },
        "resources": {},
        "tenant": facts.tenant,
        "timeout": job.timeout,
        "voting": job.voting,
        "workspace_checkout": checks_out(job),
    }


def checks_out(job: FrozenJob, nodeset: Nodeset | None = None) -> bool:
    """Does the executor's own copy of the workspace have its files? `auto`: only if there is no node that has them."""
    if job.workspace_checkout == "auto":
        return not (nodeset or job.nodesets[0]).nodes
    return bool(job.workspace_checkout)


def playbook_context(job: FrozenJob, commits: Mapping[tuple[str, str, bool], str]) -> dict[str, Any]:
    """`zuul.playbook_context`: which playbooks and roles the job is made of."""

    def described(playbook: Playbook) -> dict[str, Any]:
        paths = [(role.branch, source_path(role.project, role.branch, playbook.trusted)) for role in playbook.roles]
        roles = [{"checkout": branch, "link_target": path, "role_path": f"{path}/roles"} for branch, path in paths]
        path = f"{source_path(playbook.project, playbook.branch, playbook.trusted)}/{playbook.path}"
        return {"path": path, "trusted": playbook.trusted, "roles": roles}

    phases = {"pre_playbooks": job.pre_run, "playbooks": job.run, "post_playbooks": (*job.post_run, *job.cleanup_run)}
    used = {(playbook.project, playbook.branch, playbook.trusted) for playbooks in phases.values() for playbook in playbooks}
    return {
        "playbook_projects": {
            source_path(project, branch, trusted): {
                "canonical_name": project,
                "checkout": branch,
                "commit": commits.get((project, branch, trusted)),
            }
            for project, branch, trusted in sorted(used)
        },
        **{name: [described(playbook) for playbook in playbooks] for name, playbooks in phases.items()},
    }


def source_path(project: str, branch: str, trusted: bool) -> str:
    """Where the files of a repository that has playbooks or roles are, read-only, in the sandbox."""
    return f"{BUILD}/{'trusted' if trusted else 'untrusted'}/{quote_plus(branch) or '_'}/{project}"


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
