"""From merged jobs to a graph: what depends on what, what is deduplicated, what is left out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from headgate.configuration.collecting import variants_of
from headgate.configuration.inheritance import MergedJob
from headgate.configuration.problems import nearest
from headgate.configuration.projects import Ref
from headgate.configuration.stanza import Wrong
from headgate.configuration.state import LayoutState
from headgate.jobs import Dependency, FrozenJob, JobGraph, Nodeset, RequiredProject, SemaphoreUse

DEFAULT_ANSIBLE = "11"


@dataclass(slots=True, eq=False)
class Candidate:
    """A job that may run for one change of the item. `positions` are the changes it runs for once deduplicated."""

    job: MergedJob
    position: int
    ref: Ref
    runs: bool
    refusal: str
    nodesets: list[Nodeset]
    positions: list[int] = field(default_factory=list)
    needs: dict[str, bool] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.job.name


def settle(candidates: list[Candidate], fail_fast: bool, state: LayoutState) -> JobGraph:
    """The graph of those that run. Raises `Wrong`."""
    for each in candidates:
        each.positions = [each.position]
        each.needs = dict(sorted(each.job.sets["dependencies"]))
    initializers = [each.name for each in candidates if each.job.get("type", "regular") == "initializer"]
    for each in candidates if initializers else ():
        if each.job.get("type", "regular") == "regular":
            each.needs.update(dict.fromkeys(initializers, True))
    kept = candidates
    if len({each.position for each in candidates}) > 1:
        kept = _deduplicated(candidates, [frozen_job(each, state) for each in candidates])
    if not all(each.runs for each in kept):
        _force_dependencies(kept)
    running = [each for each in kept if each.runs]
    links = _links(running, state)
    _refuse_cycles(running, links)
    for each in running:
        if each.refusal:
            raise Wrong(each.refusal)
    return JobGraph(tuple(frozen_job(each, state, _linked(links[id(each)])) for each in running), fail_fast)


def _linked(links: list[tuple[Candidate, bool]]) -> tuple[Dependency, ...]:
    needs: dict[str, bool] = {}
    for other, soft in links:
        needs[other.name] = needs.get(other.name, True) and soft
    return tuple(Dependency(*each) for each in sorted(needs.items()))


def _deduplicated(candidates: list[Candidate], frozen: list[FrozenJob]) -> list[Candidate]:
    """Equal jobs of several changes of a cycle become one, that of the first of them."""
    kept: dict[str, list[tuple[Candidate, FrozenJob]]] = {}
    remaining = []
    for candidate, job in zip(candidates, frozen, strict=True):
        twins = kept.setdefault(candidate.name, [])
        twin = next((each for each, other in twins if _joins(each, other, candidate, job)), None)
        if twin is None:
            twins.append((candidate, job))
            remaining.append(candidate)
        else:
            twin.positions.append(candidate.position)
            twin.runs = twin.runs or candidate.runs
    return remaining


def _joins(first: Candidate, first_job: FrozenJob, other: Candidate, other_job: FrozenJob) -> bool:
    if first.name != other.name or first_job.deduplicate is False or other_job.deduplicate is False:
        return False
    if first_job.deduplicate == "auto" and not first_job.required_projects and first.ref.project != other.ref.project:
        return False
    return replace(first_job, changes=()) == replace(other_job, changes=())


def _links(candidates: list[Candidate], state: LayoutState | None) -> dict[int, list[tuple[Candidate, bool]]]:
    """For each job those it depends on, and whether softly. Raises `Wrong` for a hard dependency that is not there."""
    by_name: dict[tuple[str, int], Candidate] = {}
    for each in candidates:
        for position in each.positions:
            by_name.setdefault((each.name, position), each)
    links: dict[int, list[tuple[Candidate, bool]]] = {}
    for each in candidates:
        found = links.setdefault(id(each), [])
        for name, soft in each.needs.items():
            for position in each.positions:
                other = by_name.get((name, position))
                if other is not None:
                    found.append((other, soft))
                elif not soft:
                    message = f'the job "{each.name}" depends on "{name}", which is not run here'
                    raise Wrong(f"{message}: add it to the pipeline, or say soft: true")
                elif state is not None and not variants_of(state, name):
                    raise Wrong(f'the job "{each.name}" depends on "{name}", which there is not{nearest(name, state.jobs)}')
    return links


def _force_dependencies(candidates: list[Candidate]) -> None:
    """A job that runs makes those run that it needs, though their files would leave them out."""
    links = _links(candidates, None)
    _refuse_cycles(candidates, links)
    for each in candidates:
        if not each.runs:
            continue
        waiting = [each]
        while waiting:
            for other, soft in links[id(waiting.pop())]:
                if not soft and not other.runs:
                    other.runs = True
                    waiting.append(other)
                elif not soft and other is not each:
                    waiting.append(other)


def _refuse_cycles(candidates: list[Candidate], links: dict[int, list[tuple[Candidate, bool]]]) -> None:
    done: set[int] = set()
    for start in candidates:
        trail: list[tuple[Candidate, int]] = [(start, 0)]
        on_trail = {id(start)}
        while trail:
            each, position = trail.pop()
            further = links[id(each)]
            if id(each) in done or position >= len(further):
                done.add(id(each))
                on_trail.discard(id(each))
                continue
            trail.append((each, position + 1))
            other = further[position][0]
            if id(other) in on_trail:
                raise Wrong(f'the dependencies of the job "{other.name}" lead back to it')
            if id(other) not in done:
                trail.append((other, 0))
                on_trail.add(id(other))


def frozen_job(candidate: Candidate, state: LayoutState, dependencies: tuple[Dependency, ...] = ()) -> FrozenJob:
    """A merged job as a value."""
    job = candidate.job
    timeout, pre_timeout = job.get("timeout", None), job.get("pre_timeout", None)
    if pre_timeout and timeout:
        pre_timeout = min(pre_timeout, timeout)
    return FrozenJob(
        name=job.name,
        parents=tuple(dict.fromkeys(variant.name for variant in job.path)),
        description=job.description or "",
        type=job.get("type", "regular"),
        voting=job.get("voting", True),
        attempts=job.get("attempts", 3),
        timeout=timeout,
        pre_timeout=pre_timeout,
        post_timeout=job.get("post_timeout", None),
        dependencies=dependencies,
        declared_dependencies=tuple(Dependency(*each) for each in sorted(job.sets["dependencies"])),
        semaphores=tuple(SemaphoreUse(*each) for each in job.semaphores),
        tags=tuple(sorted(job.sets["tags"])),
        provides=tuple(sorted(job.sets["provides"])),
        requires=tuple(sorted(job.sets["requires"])),
        vars=job.vars,
        extra_vars=job.extra_vars,
        host_vars=job.host_vars,
        group_vars=job.group_vars,
        include_vars=tuple(job.include_vars),
        required_projects=tuple(RequiredProject(use.name, use.override_checkout) for use in job.required_projects.values()),
        include_projects=job.include_projects,
        exclude_projects=job.exclude_projects,
        nodesets=tuple(candidate.nodesets),
        pre_run=tuple(job.playbooks["pre_run"]),
        run=tuple(job.playbooks["run"]) if job.path[0].source.project else (),
        post_run=tuple(job.playbooks["post_run"]),
        cleanup_run=tuple(job.playbooks["cleanup_run"]),
        override_checkout=job.get("override_checkout", None),
        success_message=job.get("success_message", None) or "SUCCESS",
        failure_message=job.get("failure_message", None) or "FAILURE",
        failure_output=job.failure_output,
        ansible_version=job.get("ansible_version", None) or state.tenant.default_ansible_version or DEFAULT_ANSIBLE,
        ansible_split_streams=bool(job.get("ansible_split_streams", False)),
        workspace_scheme=job.get("workspace_scheme", "golang"),
        workspace_checkout=job.get("workspace_checkout", True),
        post_review=job.post_review,
        hold_following_changes=job.get("hold_following_changes", False),
        deduplicate=job.get("deduplicate", "auto"),
        secret_exposure=job.secret_exposure or "ignore",
        image_build_name=job.get("image_build_name", None),
        preserve_home_paths=tuple(sorted(job.preserve_home_paths)),
        changes=tuple(candidate.positions),
    )
