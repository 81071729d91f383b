"""The study in batch: a configuration becomes tasks, tasks become executed notebooks, tables, figures and a report."""
