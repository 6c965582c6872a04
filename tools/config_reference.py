"""Writes docs/config.md, the reference of pipeline.yaml's fields; `--check` says if it is stale."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tfx_pipeline.config.reference import reference  # noqa: E402  The checkout's own.

DOCUMENT = ROOT / "docs" / "config.md"


def main() -> int:
    text = reference()
    if "--check" in sys.argv[1:]:
        if DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == text:
            return 0
        print("docs/config.md is stale: .venv/bin/python tools/config_reference.py")
        return 1
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
