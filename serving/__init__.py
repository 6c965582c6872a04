"""A pushed model to answers: the model server and its clients, TensorFlow Serving's protocol."""
