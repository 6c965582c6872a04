"""Makes .venv-airflow3 or .venv-airflow2 from its lock; called by `make`, stdlib only.

Tests run the DAG files of `assay compile --to airflow` there. Nothing of Assay or TFX is installed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import bootstrap_uv
import setup_env


def set_up(stamp: Path) -> None:
    """Installs the lock that belongs to the environment: requirements/airflow-3.txt, -2.txt."""
    started = time.monotonic()
    venv = stamp.parent
    version = venv.name.removeprefix(".venv-airflow")
    print(f"Setting up Airflow {version} in {venv}, for tests (about 0.5 GB of disk)")
    setup_env.LOG.write_text("")
    uv = str(bootstrap_uv.uv_path())
    environment = setup_env.install_environment(dict(os.environ))
    setup_env.begin(venv, uv, environment, prompt=f"airflow{version}")
    lock = Path(f"requirements/airflow-{version}.txt")
    setup_env.install_lock(venv, lock, uv, environment)
    setup_env.finish(venv, stamp)
    print(f"Ready after {time.monotonic() - started:.0f} s.", flush=True)


if __name__ == "__main__":
    sys.exit(setup_env.main(Path(sys.argv[1]), set_up))
