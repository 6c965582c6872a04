"""The REST port: TensorFlow Serving's HTTP/JSON interface over the same handlers as gRPC.

`server` (sockets) -> `app` (HTTP) -> `api` (one function for each operation), which reads JSON with
`parsing`, `predict_json` and `example_json`, and writes it with `writing`.
"""

from serving.server.rest.app import build_app
from serving.server.rest.server import RestServer, start_rest

__all__ = ["RestServer", "build_app", "start_rest"]
