#!/bin/bash
# Succeeds when the REST port answers a GET with 200. Bash alone: neither image has curl.
# TensorFlow Serving opens its ports once its first models are loaded, so that a model's status is
# also its readiness; ours has /readyz, which HEALTHCHECK_PATH names.
set -euo pipefail
path=${HEALTHCHECK_PATH:-/v1/models/$MODEL_NAME}
exec 3<>"/dev/tcp/127.0.0.1/${HEALTHCHECK_PORT:-8501}"
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$path" >&3
read -r -t 4 _ status _ <&3
[[ $status == 200 ]]
