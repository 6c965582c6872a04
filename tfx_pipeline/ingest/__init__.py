"""Raw files -> typed rows: CSV, Parquet, Arrow and TFRecord read, checked, split, without TFX."""
