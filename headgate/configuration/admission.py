"""May this object stand in this tenant? What can be said of one object without looking at another name."""

from __future__ import annotations

from collections.abc import Mapping

import re2

from headgate.configuration.definitions import NodesetDefinition, Secret, Source
from headgate.configuration.objects import StanzaObject, Variant
from headgate.configuration.pipelines import Pipeline
from headgate.configuration.projects import Projects
from headgate.configuration.stanza import Wrong
from headgate.configuration.tenant_values import Tenant


def admit_job(variant: Variant, tenant: Tenant, projects: Projects) -> None:
    """Raises `Wrong` if this variant alone may not be used in the tenant."""
    job = variant.job
    if isinstance(job.nodeset, NodesetDefinition):
        admit_labels(job.nodeset, tenant)
    if job.required_projects:
        projects.need(job.required_projects, ("required-projects",))
    for key, selected in (("include-projects", job.include_projects), ("exclude-projects", job.exclude_projects)):
        if selected:
            projects.need((name or "" for kind, name in selected if kind == "name"), (key,))
    for entry in job.include_vars or ():
        if entry.project is not None and not entry.of_item:
            projects.need((entry.project,), ("include-vars",))
    for name in job.allowed_projects or ():
        if name != variant.source.name:
            projects.need((name,), ("allowed-projects",))
    for role in job.roles or ():
        projects.find(role.project)
    _admit_times(variant, tenant)
    if job.base:
        settings = projects.by_canonical[variant.source.project].settings
        if not settings.trusted or not settings.allow_base_jobs:
            raise Wrong(
                "a job without a parent (parent: null) may be defined in a config-project only", ("parent",), "Base Job Not Permitted"
            )


def _admit_times(variant: Variant, tenant: Tenant) -> None:
    job, most = variant.job, tenant.max_job_timeout

    def bounded(key: str, value: int | None) -> None:
        if value and most != -1 and value > most:
            raise Wrong(f"{key} {value} exceeds the tenant's max-job-timeout of {most}", (key,), "Max Timeout Exceeded")

    bounded("pre-timeout", job.pre_timeout)
    if job.pre_timeout and job.timeout and job.pre_timeout > job.timeout:
        message = f"pre-timeout {job.pre_timeout} exceeds timeout {job.timeout}, which includes it"
        raise Wrong(message, ("pre-timeout",), "Pre-Timeout Exceeds Timeout")
    bounded("timeout", job.timeout)
    bounded("post-timeout", job.post_timeout)


def admit_labels(nodeset: NodesetDefinition, tenant: Tenant) -> None:
    """Raises `Wrong` for a label that the tenant may not use."""
    if not tenant.use_nodepool:
        return
    for label in sorted(nodeset.labels()):
        allowed = not tenant.allowed_labels or any(re2.match(pattern, label) for pattern in tenant.allowed_labels)
        refused = any(re2.match(pattern, label) for pattern in tenant.disallowed_labels or ())
        if not allowed or refused:
            may = ", ".join(tenant.allowed_labels or ("all",)) + (
                f" but not {', '.join(tenant.disallowed_labels)}" if tenant.disallowed_labels else ""
            )
            raise Wrong(f'the label "{label}" is not allowed in this tenant; allowed are {may}', (), "Label Forbidden")


def admit_secret(secret: Secret, tenant: Tenant) -> None:
    """Raises `Wrong` for an OIDC secret beyond the tenant's limits."""
    if secret.oidc is None:
        return
    ttl = secret.oidc.get("ttl", tenant.default_oidc_ttl)
    if ttl > tenant.max_oidc_ttl:
        raise Wrong(f"ttl {ttl} exceeds the tenant's max-oidc-ttl of {tenant.max_oidc_ttl}", ("oidc", "ttl"), "Max OIDC TTL Exceeded")
    issuer = secret.oidc.get("iss")
    if issuer and issuer not in tenant.allowed_oidc_issuers:
        raise Wrong(f'the issuer "{issuer}" is not allowed in this tenant', ("oidc", "iss"), "OIDC issuer not allowed")


def admit_stanza(stanza: StanzaObject, pipelines: Mapping[str, Pipeline], tenant: Tenant, projects: Projects) -> None:
    """Raises `Wrong` if a job variant or parameter in the stanza may not be used."""
    for variant in stanza.variants():
        try:
            admit_job(variant, tenant, projects)
        except Wrong as wrong:
            raise Wrong(f'job "{variant.name}": {wrong}', (*variant.job.path, variant.name, *wrong.path), wrong.name) from wrong
    for name, use in stanza.definition.pipelines.items():
        pipeline = pipelines.get(name)
        if pipeline and use.parameters and not pipeline.allow_parameters:
            raise Wrong(f'the pipeline "{name}" does not allow parameters', (name, "parameters"))


def admit_target(source: Source, target: str, projects: Projects) -> None:
    """Raises `Wrong` unless a stanza in `source` may configure the project `target` (canonical)."""
    if source.trusted or source.project == target:
        return
    settings = projects.by_canonical[source.project].settings
    other = projects.by_canonical[target]
    if other.trusted or not settings.may_configure(other.name, target):
        raise Wrong("an untrusted project may configure only itself", ("name",), "Project Forbidden")


def admit_pipeline(pipeline: Pipeline, tenant: Tenant) -> None:
    """Raises `Wrong` for a connection that the tenant may not use."""
    for reporter in (each for each in pipeline.reporters() if each not in pipeline.config_error or each in pipeline.failure):
        if tenant.allowed_reporters is not None and reporter.connection not in tenant.allowed_reporters:
            raise Wrong(f'this tenant may not report by the connection "{reporter.connection}"', (), "Unknown Connection")
    for trigger in pipeline.triggers if tenant.allowed_triggers is not None else ():
        if trigger.driver in ("timer", "zuul"):
            raise Wrong(
                f"a {trigger.driver} trigger may not be used in a tenant with allowed-triggers: Zuul's have no connection", ("trigger",)
            )
        if trigger.connection not in (tenant.allowed_triggers or ()):
            raise Wrong(f'this tenant may not be triggered by the connection "{trigger.connection}"', (), "Unknown Connection")
