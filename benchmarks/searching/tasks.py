"""The sixteen tasks of the comparison."""

from __future__ import annotations

from searching import formulas, models, synthetic

VERSION = 1
"""Raised whenever a task changes: references and results of another version are refused."""

TASKS = {task.name: task for task in (*synthetic.TASKS, *formulas.TASKS, *models.TASKS)}
