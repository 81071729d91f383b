"""The study in batch: a configuration becomes tasks, tasks become executed notebooks, tables, figures and a report.

Words of this room
    configuration: a TOML file that names models, data sets, protocols and methods.
    template: a study notebook (`notebooks/2x_*.ipynb`) without outputs; its parameters are declared in a tagged cell.
    task: a template with one set of parameters; it runs in a process and a folder of its own, `.state/<task>`.
    digest: SHA-256 of everything that a task's outputs depend on.
    sentinel: `done.json`, written last by a task, with its digest and the checksum of each output.
    finished: a task with a sentinel of the present digest whose outputs are unchanged.
    record: `run.json`, written last by a run without failures.
"""
