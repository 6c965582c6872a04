"""A model server that speaks TensorFlow Serving's protocol, in Python over TensorFlow.

From transport to disk: `h2_front` or `grpc_front` (sockets) -> `handlers` (bytes in, bytes out) ->
`versions` (which version of a model answers) -> `saved_model` (one loaded version). `start` puts
them together, `main` is the command. REST, batching and several models have their places beside
these, not inside them.
"""
