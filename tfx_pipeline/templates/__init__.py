"""Ready-made pipelines: `assay init --template NAME`, `assay demo NAME`."""
