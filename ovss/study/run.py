"""A whole run: plan, execute what is out of date, collect, build the site, write the record last."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ovss.errors import InputError
from ovss.provenance.sources import source_digest
from ovss.report.site import build_site
from ovss.study.batch import Failure, is_current, only_run, run_tasks, task_digests
from ovss.study.collect import RECORD, collect, write_record
from ovss.study.config import StudyConfig
from ovss.study.plan import STATE, Template, plan_study
from ovss.study.progress import Display, Status

INDEX = "index.html"


@dataclass(frozen=True)
class StudyResult:
    """What a run did.

    Attributes:
        out: Folder of the report.
        statuses: State of each selected task.
        failures: Why tasks failed; empty after a successful run.
        rebuilt: Whether tables and site were written anew; False when everything was up to date.
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

    Nothing that is up to date is done again; after an interruption the run goes on where it stopped. `run.json` is
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
    selected = plan_study(config, templates, only)
    plan = plan_study(config, templates)
    plan += [task for task in selected if task not in plan]
    digests = task_digests(plan)
    with only_run(out):
        fresh = {task.id for task in plan if is_current(out, task, digests)}
        if _nothing_to_do(out, fresh, {task.id for task in selected}, digests):
            statuses, _ = run_tasks(out, selected, digests, jobs=1, threads=1, display=display or Display())
            return StudyResult(out, statuses, [], rebuilt=False)
        (out / RECORD).unlink(missing_ok=True)
        statuses, failures = run_tasks(
            out,
            selected,
            digests,
            jobs=jobs or max(1, min(4, _cores() // config.threads)),
            threads=config.threads,
            display=display or Display(),
        )
        record = collect(out, config, plan, digests)
        record["site"] = _site_code()
        build_site(out, record, [failure.describe() for failure in failures])
        if not failures:
            write_record(out, record)
    return StudyResult(out, statuses, failures, rebuilt=True)


def prepare_folder(out: Path) -> None:
    """Create a report's folder, or make sure that it is one.

    Raises:
        InputError: It is a file, cannot be created, or holds other things.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        known = {RECORD, STATE, INDEX}
        content = {path.name for path in out.iterdir()}
        if content and not content & known:
            raise InputError(f"'{out}' is not empty and holds no report; give --out a new folder")
        (out / STATE).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write the report to '{out}': {error.strerror}") from error


def _nothing_to_do(out: Path, fresh: set[str], selected: set[str], digests: dict[str, str]) -> bool:
    path = out / RECORD
    if not path.is_file() or not (out / INDEX).is_file() or not selected <= fresh:
        return False
    record = json.loads(path.read_text(encoding="utf-8"))
    recorded = {task["id"]: task["digest"] for task in record["tasks"] if task["state"] == "done"}
    return record.get("site") == _site_code() and recorded == {name: digests[name] for name in fresh}


def _site_code() -> str:
    """Digest of the code that joins tables and renders pages."""
    return source_digest(collect.__module__, build_site.__module__)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
