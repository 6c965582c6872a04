"""The local runner: the compiled IR in one process, watched, retried, resumable."""

from tfx_pipeline.runners.local.run import RunOptions, run_pipeline

__all__ = ["RunOptions", "run_pipeline"]
