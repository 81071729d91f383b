"""A whole run: plan, execute what is out of date, collect, build the site, write the record last."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovss.files import only_run, read_sealed_json
from ovss.provenance.sources import source_digest
from ovss.report import RECORD
from ovss.report.site import build_site
from ovss.study.batch import Failure, finished_tasks, run_tasks, unchanged
from ovss.study.collect import collect, write_record
from ovss.study.config import StudyConfig
from ovss.study.places import STATE, prepare_folder
from ovss.study.plan import Template, plan_study
from ovss.study.progress import Display, Status

__all__ = ["StudyResult", "run_study"]


@dataclass(frozen=True)
class StudyResult:
    """What a run did.

    Attributes:
        out: Folder of the report.
        statuses: State of each selected task.
        failures: Why tasks failed; empty after a successful run.
        rebuilt: Whether tables and site were written again; False when everything was up to date.
    """

    out: Path
    statuses: list[Status]
    failures: list[Failure]
    rebuilt: bool


def run_study(
    config: StudyConfig,
    out: Path,
    templates: Sequence[Template],
    *,
    only: Sequence[str] = (),
    jobs: int | None = None,
    display: Display | None = None,
) -> StudyResult:
    """Run a study into a folder.

    Nothing that is up to date is done again; after an interruption the next run resumes. `run.json` is
    written last and is there only after a run without failures.

    Args:
        config: The study.
        out: Folder of the report: new, empty, or of an earlier run.
        templates: From `find_templates`.
        only: Beginnings of template names; what they read from is run too.
        jobs: Notebooks at a time; None takes as many as the machine's cores have room for, four at most.
        display: Shows what runs.

    Raises:
        InputError: The folder holds other things, cannot be written, or is in use by another run; see `plan_study`.
    """
    prepare_folder(out)
    plan, selected = plan_study(config, templates), plan_study(config, templates, only)
    plan += [task for task in selected if task not in plan]
    selected = [task for task in plan if task in selected]  # the same objects, whose digests are made once
    jobs = jobs or max(1, min(4, _cores() // config.threads))
    display = display or Display()
    with only_run(out, out / STATE / "lock"):
        finished = finished_tasks(out, plan)
        nothing_to_do = all(task.id in finished for task in selected) and _is_recorded(out, finished)
        if not nothing_to_do:
            (out / RECORD).unlink(missing_ok=True)
        batch = run_tasks(out, selected, finished, jobs=jobs, threads=config.threads, display=display)
        if not nothing_to_do:
            record = collect(out, config, plan, batch.finished) | {"site": _site_code()}
            pages = build_site(out, record, [failure.describe() for failure in batch.failures])
            if not batch.failures:
                write_record(out, record, pages)
    return StudyResult(out, batch.statuses, batch.failures, rebuilt=not nothing_to_do)


def _is_recorded(out: Path, finished: Mapping[str, dict[str, Any]]) -> bool:
    """Whether tables and pages were made from these results, by the present code, and have not changed since."""
    try:
        record = read_sealed_json(out / RECORD)
    except (OSError, ValueError, RecursionError):
        return False
    recorded = {task["id"]: task["digest"] for task in record["tasks"] if task["state"] == "done"}
    return (
        record["site"] == _site_code()
        and recorded == {name: done["digest"] for name, done in finished.items()}
        and unchanged(out, record["files"])
    )


def _site_code() -> str:
    """Digest of the code that joins tables and renders pages."""
    return source_digest(collect.__module__, build_site.__module__)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
