"""`LocalRunner`'s own pipeline options; other runners do not read them."""

from __future__ import annotations

from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions


class LocalOptions(PipelineOptions):  # type: ignore[misc]
    """From `run.beam.parallelism`, or what an executor sets for its job."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--local_processes",
            type=int,
            default=0,
            help="how many read rows; 0: one a core where there is much to read",
        )
        parser.add_argument("--accumulators", help="folder for the accumulators of each file")
        parser.add_argument(
            "--earlier_accumulators",
            action="append",
            default=[],
            help="folder of an earlier job, whose accumulators stand for the files that it read",
        )
