# loom in a slim image: not root, a read-only root (docker run --read-only --tmpfs /tmp), one volume, a health check.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/build.txt requirements/image.txt requirements/
RUN python -m venv /opt/loom \
    && /opt/loom/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt -r requirements/image.txt
COPY pyproject.toml README.md LICENSE loom.config.yaml ./
COPY docs docs
COPY loom loom
RUN /opt/loom/bin/pip install --no-cache-dir --no-index --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --home-dir /data loom \
    && install --directory --owner=10001 --mode=0700 /data
COPY --from=build /opt/loom /opt/loom
ENV PATH=/opt/loom/bin:$PATH PYTHONPATH=/data PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/health', timeout=3)"]
ENTRYPOINT ["loom"]
CMD ["serve"]
