"""A pushed model to answers: the model server and its clients, over TensorFlow Serving's protocol."""
