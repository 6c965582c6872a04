# TensorFlow Serving with the ports, environment and arguments of assay.Dockerfile: a non-root user,
# a health check, and SIGTERM that reaches the server. From the repository's root:
#   docker build -f serving/deploy/docker/tensorflow-serving.Dockerfile -t tensorflow-serving .
ARG TENSORFLOW_SERVING_IMAGE=tensorflow/serving:2.21.0

FROM ${TENSORFLOW_SERVING_IMAGE}
COPY serving/deploy/docker/entrypoint.sh serving/deploy/docker/healthcheck.sh /usr/local/bin/
ENV HOME=/tmp \
    MODEL_SERVER=tensorflow_model_server \
    MODEL_BASE_PATH=/models \
    MODEL_NAME=model
USER 10001:10001
EXPOSE 8500 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/healthcheck.sh"]
ENTRYPOINT ["/usr/local/bin/entrypoint.sh"]
