"""ModelService.HandleReloadConfigRequest: another list of models, without a restart.

As model_service_impl.cc of tensorflow/serving.
"""

from __future__ import annotations

import logging

from google.protobuf.message import DecodeError
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse

from serving.server.calls import Call
from serving.server.core import ServerCore
from serving.server.status import invalid_argument

logger = logging.getLogger("assay.serving")

METHOD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


def reload_config(core: ServerCore, data: bytes, call: Call) -> bytes:
    """Serves the models that the request lists, and only those; answers when new ones are loaded.

    Raises:
        RequestError: As `ServerCore.configure`.
    """
    try:
        request = ReloadConfigRequest.FromString(data)
    except DecodeError:
        raise invalid_argument(
            "the request is no valid tensorflow.serving.ReloadConfigRequest message"
        ) from None
    if request.config.WhichOneof("config") != "model_config_list":
        raise invalid_argument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
            "ModelConfigList is currently supported"
        )
    for model in request.config.model_config_list.config:
        logger.info("reload: model %s at %s", model.name, model.base_path)
    core.configure(request.config)
    return bytes(ReloadConfigResponse(status={}).SerializeToString())
