"""The variable `zuul` as playbooks see it. Names and shapes are Zuul's; paths are those inside the build's sandbox."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

from headgate.build_facts import BUILD, INVENTORY, LOGS, RESULTS, SOURCES, WORK, BuildFacts, ItemChange
from headgate.jobs import FrozenJob, Nodeset, Playbook


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
