"""ExampleGen: raw files -> the standard `Examples` artifact, content-addressed in the cache."""
