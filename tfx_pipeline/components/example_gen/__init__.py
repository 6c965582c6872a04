"""ExampleGen: raw files -> the standard `Examples` artifact, content-addressed in the cache."""

from tfx_pipeline.components.example_gen.component import ExampleGen, make_example_gen

__all__ = ["ExampleGen", "make_example_gen"]
