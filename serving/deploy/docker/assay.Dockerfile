# Assay's model server. From the repository's root:
#   docker build -f serving/deploy/docker/assay.Dockerfile -t assay-model-server .
#   docker run -p 8500:8500 -p 8501:8501 -v "$PWD/runs/serving:/models:ro" -e MODEL_NAME=taxi \
#       assay-model-server
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# What is locked changes less often than the source: its layer is built first, and kept.
COPY setup.py requirements/lock.txt tools/lock_subset.py ./
RUN python lock_subset.py --lock lock.txt --package setuptools > build.txt \
    && pip install --require-hashes --no-deps -r build.txt \
    && python lock_subset.py --lock lock.txt --extra serving > serving.txt \
    && python -m venv --without-pip /opt/assay \
    && pip --python /opt/assay/bin/python install --require-hashes --no-deps -r serving.txt
COPY pyproject.toml ./
COPY transform transform
COPY trainer trainer
COPY tfx_pipeline tfx_pipeline
COPY serving serving
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && pip --python /opt/assay/bin/python install --no-deps --no-index wheels/*.whl \
    && pip --python /opt/assay/bin/python check

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
