# Assay's model server. From the repository's root:
#   docker build -f serving/deploy/docker/assay.Dockerfile -t assay-model-server .
#   docker run -p 8500:8500 -p 8501:8501 -v "$PWD/runs/serving:/models:ro" -e MODEL_NAME=taxi \
#       assay-model-server
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/assay
WORKDIR /src
# uv as `make` does it: pip refuses a pin of the lock (the backport that ai-edge-litert asks for is
# declared for older Pythons). What is locked changes less often than the source, so its layer comes
# first and is kept.
COPY setup.py requirements/bootstrap.txt requirements/lock.txt tools/lock_subset.py ./
RUN pip install --require-hashes -r bootstrap.txt \
    && python lock_subset.py serving --lock lock.txt > serving.txt \
    && uv venv --python "$(command -v python)" "$VIRTUAL_ENV" \
    && uv pip install --require-hashes --no-deps -r serving.txt
COPY pyproject.toml ./
COPY transform transform
COPY trainer trainer
COPY tfx_pipeline tfx_pipeline
COPY serving serving
RUN uv pip install --no-deps --no-build-isolation . && uv pip check

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/assay /opt/assay
COPY serving/deploy/docker/entrypoint.sh serving/deploy/docker/healthcheck.sh /usr/local/bin/
# Bytecode was compiled at install; /tmp is all that has to be writable.
ENV PATH=/opt/assay/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MODEL_SERVER=assay-model-server \
    MODEL_BASE_PATH=/models \
    MODEL_NAME=model \
    HEALTHCHECK_PATH=/readyz
USER 10001:10001
EXPOSE 8500 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/healthcheck.sh"]
ENTRYPOINT ["/usr/local/bin/entrypoint.sh"]
