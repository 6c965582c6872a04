"""Runs in the Python of an Airflow: loads DAG files, and says as JSON what Airflow made of them.

python inside.py load FOLDER
python inside.py execute FOLDER DAG_ID TASK_ID SECONDS_UNTIL_ON_KILL
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from typing import Any

import airflow

IS_2 = airflow.__version__.startswith("2.")


def load(folder: str) -> Any:
    """The DAG bag of a folder."""
    if IS_2:
        from airflow.models import DagBag

        return DagBag(folder, include_examples=False)
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(folder)


def serialized(dag: Any) -> str:
    """What Airflow stores of a DAG in its database."""
    from airflow.serialization import serialized_objects

    if hasattr(serialized_objects, "DagSerialization"):
        return json.dumps(serialized_objects.DagSerialization.to_dict(dag))
    return json.dumps(serialized_objects.SerializedDAG.to_dict(dag))


def attribute(value: Any) -> Any:
    """A value as JSON: what has no form of its own becomes text."""
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return [str(item) for item in value] if isinstance(value, (list, tuple)) else str(value)


def look_at(folder: str) -> dict[str, Any]:
    """All of a folder's DAGs with the attributes of their tasks."""
    started = time.monotonic()
    bag = load(folder)
    seconds = time.monotonic() - started
    dags = {}
    for dag_id, dag in bag.dags.items():
        tasks = {}
        for task in dag.tasks:
            names = [name for name in vars(task) if not name.startswith("_")]
            tasks[task.task_id] = {name: attribute(getattr(task, name)) for name in names}
            tasks[task.task_id]["upstream"] = sorted(task.upstream_task_ids)
            tasks[task.task_id]["trigger_rule"] = getattr(
                task.trigger_rule, "value", str(task.trigger_rule)
            )
            tasks[task.task_id]["links"] = [link.name for link in task.operator_extra_links]
        dags[dag_id] = {
            "tasks": tasks,
            "schedule": dag.timetable.summary if IS_2 else dag.schedule,
            "max_active_runs": dag.max_active_runs,
            "catchup": dag.catchup,
            "tags": sorted(dag.tags),
            "params": {name: dag.params[name] for name in dag.params},
            "timezone": str(dag.timezone),
            "serialized": serialized(dag),
        }
    return {
        "errors": {str(file): str(error) for file, error in bag.import_errors.items()},
        "seconds": seconds,
        "dags": dags,
        "modules": sorted({name.split(".")[0] for name in sys.modules}),
    }


def execute(folder: str, *orders: str) -> dict[str, dict[str, str]]:
    """Executes the task B of DAGs as a worker does, without a scheduler; says what it raised.

    What the tasks log goes to standard output as Airflow formats it, behind a line `### DAG_ID`.

    Args:
        folder: Of the DAG files.
        orders: `DAG_ID`, or `DAG_ID:SECONDS` until `on_kill` is called.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, force=True)
    outcomes = {}
    dags = load(folder).dags
    for order in orders:
        dag_id, _, seconds = order.partition(":")
        task = dags[dag_id].get_task("B")
        print(f"\n### {dag_id}", flush=True)
        if seconds:
            threading.Timer(float(seconds), task.on_kill).start()
        raised = message = ""
        try:
            task.execute({"run_id": "manual__2026-01-01T00:00:00+00:00"})
        except Exception as error:
            raised, message = type(error).__name__, str(error)
        outcomes[dag_id] = {"raised": raised, "message": message}
    print("\n### end")
    return outcomes


if __name__ == "__main__":
    found = look_at(*sys.argv[2:]) if sys.argv[1] == "load" else execute(*sys.argv[2:])
    print("\n" + json.dumps(found))
