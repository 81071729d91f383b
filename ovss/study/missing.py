"""What a study would run and what it lacks for that, without running it."""

from collections.abc import Sequence

from ovss.errors import InputError
from ovss.study.config import DatasetSpec, ModelSpec, StudyConfig
from ovss.study.plan import Task

__all__ = ["describe_plan"]


def describe_plan(config: StudyConfig, tasks: Sequence[Task]) -> tuple[str, bool]:
    """List tasks, weights and data.

    Args:
        config: The study.
        tasks: From `plan_study`.

    Returns:
        The text, and whether everything that the tasks need is there.
    """
    width = max(len(task.id) for task in tasks)
    obstacles = {task.id: _obstacle(config, task) for task in tasks}
    weights, data = [_weights(spec) for spec in config.models], [_data(spec) for spec in config.datasets]
    impossible = sum(map(bool, obstacles.values()))
    missing = sum(not line.startswith("[OK]") for line in weights + data)
    complete = not missing and not impossible
    lines = [
        f"study '{config.name}': {len(tasks)} notebooks, {len(config.methods)} methods",
        "",
        *(f"  {name:<{width}}  {f'cannot run: {why}' if why else ''}".rstrip() for name, why in obstacles.items()),
        "",
        "weights:",
        *(f"  {line}" for line in weights),
        "data:",
        *(f"  {line}" for line in data),
        "",
        "nothing is missing" if complete else f"{missing} missing, {impossible} impossible",
    ]
    return "\n".join(lines), complete


def _weights(spec: ModelSpec) -> str:
    from ovss.backbone.catalogue import missing_weights

    why = missing_weights(spec.model, spec.pretrained)
    return f"[MISSING] {spec.label}: {why}" if why else f"[OK]      {spec.label}"


def _data(spec: DatasetSpec) -> str:
    from ovss.datasets import load_dataset

    try:
        count = len(load_dataset(spec.name, root=spec.root or None, split=spec.split))
    except InputError as error:
        return f"[MISSING] {spec.name} {spec.split}: {error}"
    return f"[OK]      {spec.name} {spec.split}: {count} images"


def _obstacle(config: StudyConfig, task: Task) -> str:
    """Why the protocol does not fit the model of a task; empty where it does."""
    if task.model is None or task.dataset is None or "limit" not in task.parameters:
        return ""
    from ovss.backbone import describe_model
    from ovss.protocols import load_protocol

    name = task.parameters.get("protocol", config.protocols[0])
    try:
        model = describe_model(task.model.model)
        if model.refused:
            return f"model '{task.model.model}' {model.refused}"
        load_protocol(name).for_dataset(task.dataset.name, task.model.model).geometry(model)
    except InputError as error:
        return str(error)
    return ""
