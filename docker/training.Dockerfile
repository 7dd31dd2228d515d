# Training, evaluation and export, with PyTorch; on a GPU with `--gpus all`:
#   docker build -f docker/training.Dockerfile -t adversarial-purifier:training .
#   docker run --rm --gpus all -v "$PWD/data:/data" -v "$PWD/models:/app/models" adversarial-purifier:training \
#       all --dataset mnist
# The two folders must be writable by user 10001, or add `--user "$(id -u):$(id -g)"`.

ARG PYTHON=3.13.9-slim-bookworm

FROM python:${PYTHON} AS packages
COPY requirements/uv.txt requirements/dev.txt /requirements/
# uv and not pip, as in the Makefile: torchvision fits only the torch build of the same index.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /requirements/uv.txt \
    && /venv/bin/python -m uv pip install --no-cache --python /venv/bin/python --require-hashes \
        -r /requirements/dev.txt

FROM python:${PYTHON}
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    MPLCONFIGDIR=/tmp/matplotlib \
    PURIFIER_DATA_DIR=/data
WORKDIR /app
COPY --from=packages /venv /venv
COPY service/ service/
COPY training/ training/
COPY models/ models/
RUN chmod -R a+rX /app && install -d -o 10001 -g 10001 /data
USER 10001:10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]
