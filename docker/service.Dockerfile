# The service with the shipped models, from one file for CPUs (the default) and NVIDIA GPUs:
#   docker build -f docker/service.Dockerfile --target cpu -t adversarial-purifier:cpu .
#   docker build -f docker/service.Dockerfile --target cuda -t adversarial-purifier:cuda .
# With --build-arg SCALE=1 it holds Ray Serve too, for docker/kubernetes/rayservice.yml.
# CUDA and cuDNN come as wheels, so both images start from the same base; the host needs only NVIDIA's driver.

ARG PYTHON=3.13.9-slim-bookworm

FROM python:${PYTHON} AS code
COPY service/ /app/service/
COPY models/ /app/models/
# A checkout may be readable by its owner only; the user below is another.
RUN python -m compileall -q /app/service && chmod -R a+rX /app

# Nothing needs pip once it has run.
FROM python:${PYTHON} AS packages-cpu
ARG SCALE=
COPY requirements/serve.txt requirements/scale.txt /requirements/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r /requirements/serve.txt ${SCALE:+-r /requirements/scale.txt} \
    && /venv/bin/pip uninstall --yes --quiet pip

FROM python:${PYTHON} AS packages-cuda
ARG SCALE=
COPY requirements/serve-cuda.txt requirements/scale.txt /requirements/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r /requirements/serve-cuda.txt ${SCALE:+-r /requirements/scale.txt} \
    && /venv/bin/pip uninstall --yes --quiet pip

FROM python:${PYTHON} AS runtime
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PURIFIER_LOG_FORMAT=json \
    PURIFIER_DRAIN_S=5
WORKDIR /app
COPY --from=code /app/models models
COPY --from=code /app/service service
USER 10001:10001
EXPOSE 8000
# http.client and not urllib.request, which would ask a proxy from the environment.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "\
import http.client, sys; \
connection = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); \
connection.request('GET', '/readyz'); \
sys.exit(connection.getresponse().status != 200)"]
CMD ["python", "-m", "service", "--host", "0.0.0.0", "--port", "8000"]

FROM runtime AS cuda
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PURIFIER_DEVICE=cuda
COPY --from=packages-cuda /venv /venv

# Last, hence what is built without --target.
FROM runtime AS cpu
ENV PURIFIER_DEVICE=cpu
COPY --from=packages-cpu /venv /venv
