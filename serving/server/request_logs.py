"""Which requests go to which log: the handlers' answers, and the loggers that the config lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tensorflow_serving.config.logging_config_pb2 import LoggingConfig
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server.answers import Answer
from serving.server.calls import Call, Handler
from serving.server.request_log import LOGS, RequestLogger
from serving.server.status import RequestError


class RequestLoggers:
    """The loggers of all models, as the config lists them.

    Args:
        make: Makes the logger of a model's config.
    """

    def __init__(self, make: Callable[[str, LoggingConfig], RequestLogger]) -> None:
        self._make = make
        self._loggers: dict[str, tuple[LoggingConfig, RequestLogger]] = {}

    def find(self, model_name: str) -> RequestLogger | None:
        """A model's logger, or None."""
        found = self._loggers.get(model_name)
        return found[1] if found else None

    def update(self, config: ModelServerConfig) -> None:
        """Logs what the config says; a logger whose config is the same goes on.

        Raises:
            RequestError: As `RequestLogger`; what was logged goes on.
        """
        before, after = self._loggers, {}
        made = []
        try:
            for model in config.model_config_list.config:
                wanted = model.logging_config
                if wanted.sampling_config.sampling_rate <= 0:
                    continue
                kept = before.get(model.name)
                if kept is None or kept[0] != wanted:
                    kept = (wanted, self._make(model.name, wanted))
                    made.append(kept[1])
                after[model.name] = kept
        except RequestError:
            for requests in made:
                requests.close()
            raise
        self._loggers = after
        still = {id(requests) for _, requests in after.values()}
        for _, requests in before.values():
            if id(requests) not in still:
                requests.close()

    def close(self) -> None:
        """Writes what waits, of every model."""
        loggers, self._loggers = self._loggers, {}
        for _, requests in loggers.values():
            requests.close()


def logged(
    handlers: Mapping[str, Handler], find: Callable[[str], RequestLogger | None]
) -> dict[str, Handler]:
    """The same handlers; those that run a model also log what they answer with OK.

    Args:
        handlers: Full method name to handler.
        find: The logger for a model's name; None: its requests are not logged.
    """
    return {
        method: _logged(method, handler, find) if method in LOGS else handler
        for method, handler in handlers.items()
    }


def _logged(method: str, handler: Handler, find: Callable[[str], RequestLogger | None]) -> Handler:
    def answer(data: bytes, call: Call) -> bytes | Answer[bytes]:
        response = handler(data, call)
        requests = find(call.model_name)
        if requests is None:
            return response
        if isinstance(response, Answer):
            response.add_done_callback(lambda future: _log_done(method, data, future, requests))
        else:
            requests.log(method, data, response)
        return response

    answer.inline = getattr(handler, "inline", False)  # type: ignore[attr-defined]
    return answer


def _log_done(method: str, data: bytes, future: Answer[bytes], requests: RequestLogger) -> None:
    if not future.cancelled() and future.exception() is None:
        requests.log(method, data, future.result())
