"""Components of Assay: typed TFX components, with their standard artifacts."""
