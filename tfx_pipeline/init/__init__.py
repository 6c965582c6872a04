"""`assay init`: reads a table and writes a commented pipeline.yaml that runs as it is."""
