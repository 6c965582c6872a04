"""Makes .venv-kfp from requirements/kfp.txt; called by `make`, stdlib only.

Tests load the pipelines of `assay compile --to vertex` there. Nothing of Assay or TFX is installed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import bootstrap_uv
import setup_env


def set_up(stamp: Path) -> None:
    """Installs the lock."""
    started = time.monotonic()
    venv = stamp.parent
    print(f"Setting up the Kubeflow Pipelines SDK in {venv}, for tests (about 0.1 GB of disk)")
    setup_env.LOG.write_text("")
    uv = str(bootstrap_uv.uv_path())
    environment = setup_env.install_environment(dict(os.environ))
    setup_env.begin(venv, uv, environment, prompt="kfp")
    setup_env.install_lock(venv, Path("requirements/kfp.txt"), uv, environment)
    setup_env.finish(venv, stamp)
    print(f"Ready after {time.monotonic() - started:.0f} s.", flush=True)


if __name__ == "__main__":
    sys.exit(setup_env.main(Path(sys.argv[1]), set_up))
