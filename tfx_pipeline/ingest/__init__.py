"""Raw files -> typed rows: CSV, Parquet and TFRecord read, checked and split, without TFX."""
