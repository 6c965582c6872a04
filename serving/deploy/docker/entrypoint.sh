#!/bin/sh
# Starts the server that MODEL_SERVER names, with the environment and the arguments of
# tensorflow/serving's own entry point. `exec` makes the server process 1, so that it gets the
# SIGTERM of `docker stop`; under tensorflow/serving's script the shell keeps it to itself.
set -eu
exec "$MODEL_SERVER" --port=8500 --rest_api_port=8501 \
    --model_name="$MODEL_NAME" --model_base_path="$MODEL_BASE_PATH/$MODEL_NAME" "$@"
