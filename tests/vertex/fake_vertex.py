"""A Vertex AI endpoint of this machine: its real gRPC interface over TLS, and buckets over HTTP.

The messages are those of `aiplatform_v1`, the client and the credentials are the real ones. It
keeps what it was sent, and answers as a test tells it to.
"""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud.aiplatform_v1.types import (
    CancelPipelineJobRequest,
    CreatePipelineJobRequest,
    GetPipelineJobRequest,
    PipelineJob,
)
from google.protobuf import empty_pb2

from tests.serving.certificates import self_signed

SERVICE = "google.cloud.aiplatform.v1.PipelineService"


@dataclass
class FakeVertex:
    """What was asked, and what is answered.

    Attributes:
        answers: The job's successive looks; the last one stays.
        refusal: A status that `create` ends with.
        loses_answer: Whether `create` creates the job, and then does not answer.
    """

    port: int = 0
    created: list[CreatePipelineJobRequest] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    answers: list[PipelineJob] = field(default_factory=list)
    looks: int = 0
    refusal: tuple[grpc.StatusCode, str] | None = None
    loses_answer: bool = False
    unavailable: int = 0
    asked: Callable[[], None] = lambda: None

    def create(self, request: CreatePipelineJobRequest, context: grpc.ServicerContext) -> object:
        self.metadata.append(dict(context.invocation_metadata()))
        if self.refusal is not None:
            context.abort(*self.refusal)
        self.created.append(request)
        if self.loses_answer:
            context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
        return PipelineJob(name=f"{request.parent}/pipelineJobs/{request.pipeline_job_id}")

    def get(self, request: GetPipelineJobRequest, context: grpc.ServicerContext) -> object:
        if self.unavailable:
            self.unavailable -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
        if not self.created:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such job")
        self.asked()
        answer = self.answers[min(self.looks, len(self.answers) - 1)]
        self.looks += 1
        assert request.name == self.name
        return answer

    def cancel(self, request: CancelPipelineJobRequest, context: grpc.ServicerContext) -> object:
        self.cancelled.append(request.name)
        return empty_pb2.Empty()

    @property
    def name(self) -> str:
        [request] = self.created
        return f"{request.parent}/pipelineJobs/{request.pipeline_job_id}"


@contextmanager
def serving(folder: Path) -> Iterator[tuple[FakeVertex, Path]]:
    """Serves a fake; yields it, and the file of the certificate that clients have to trust."""
    key, certificate = self_signed()
    trusted = folder / "vertex.pem"
    trusted.write_text(certificate)
    fake = FakeVertex()
    methods = {
        "CreatePipelineJob": (fake.create, CreatePipelineJobRequest, PipelineJob),
        "GetPipelineJob": (fake.get, GetPipelineJobRequest, PipelineJob),
        "CancelPipelineJob": (fake.cancel, CancelPipelineJobRequest, None),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            behaviour,
            request_deserializer=asked.deserialize,
            response_serializer=(
                answered.serialize if answered else lambda empty: empty.SerializeToString()
            ),
        )
        for name, (behaviour, asked, answered) in methods.items()
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    credentials = grpc.ssl_server_credentials([(key.encode(), certificate.encode())])
    fake.port = server.add_secure_port("localhost:0", credentials)
    server.start()
    try:
        yield fake, trusted
    finally:
        server.stop(None).wait()


def service_account_key(folder: Path) -> Path:
    """A service account's key file; with it a client signs its own tokens, and asks nobody."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "key.json"
    content = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "tester@my-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "http://localhost:1/token",
    }
    path.write_text(json.dumps(content))
    return path


@dataclass
class FakeBuckets:
    """Buckets over the JSON API of Cloud Storage, as STORAGE_EMULATOR_HOST has them."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    queries: list[dict[str, str]] = field(default_factory=list)
    forbidden: bool = False


@contextmanager
def buckets() -> Iterator[FakeBuckets]:
    """Serves fake buckets."""
    fake = FakeBuckets()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            url = urllib.parse.urlparse(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            parts = message_from_bytes(
                b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body
            ).get_payload()
            described, content = (part.get_payload(decode=True) for part in parts)  # type: ignore[union-attr]
            name = f"{url.path.split('/')[-2]}/{json.loads(described)['name']}"
            fake.queries.append(query)
            if fake.forbidden:
                self._answer(403, {"error": {"code": 403, "message": "no storage.objects.create"}})
            elif query.get("ifGenerationMatch") == "0" and name in fake.objects:
                self._answer(412, {"error": {"code": 412, "message": "it is there"}})
            else:
                fake.objects[name] = content.rstrip(b"\r\n") + b"\n"
                self._answer(200, {"name": name, "bucket": name.split("/")[0]})

        def do_GET(self) -> None:
            path = urllib.parse.urlparse(self.path).path
            bucket, _, name = path.partition("/b/")[2].partition("/o/")
            content = fake.objects.get(f"{bucket}/{urllib.parse.unquote(name)}")
            if content is None:
                self._answer(404, {"error": {"code": 404, "message": "No such object"}})
                return
            self._send(200, content)

        def _answer(self, code: int, content: object) -> None:
            self._send(code, json.dumps(content).encode())

        def _send(self, code: int, content: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    fake.url = f"http://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
