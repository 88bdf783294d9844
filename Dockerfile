FROM python:3.13-slim AS build
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/understudy \
 && /opt/understudy/bin/python -m pip install --no-cache-dir --upgrade --constraint constraints.txt pip
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# With the clients of PostgreSQL, Redis and S3, which take 35 MB: one image for one node and for many.
RUN /opt/understudy/bin/python -m pip install --no-cache-dir \
      --constraint constraints.txt --build-constraint constraints.txt ".[scale]"
# The stand-in model's engine, where it is ready-made for this processor. Its weights come into the volume when needed.
RUN /opt/understudy/bin/python -m pip install --no-cache-dir --only-binary :all: --constraint constraints.txt xllamacpp \
 || echo "no stand-in model for this processor"

FROM python:3.13-slim
# The OpenMP run-time, which the stand-in's engine is linked with; the code interpreter's sandbox, which also needs what
# docs/code-interpreter.md says of containers.
RUN apt-get update && apt-get install --yes --no-install-recommends bubblewrap libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home understudy && install --directory --owner understudy --mode 0700 /data
COPY --from=build /opt/understudy /opt/understudy
ENV PATH=/opt/understudy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    UNDERSTUDY_DATA_DIR=/data
USER understudy
WORKDIR /data
# The built-in embedding's weights, 19 MB: a new volume begins with what the image has here. Without them search goes by
# words alone, and nodes that differ in this would not agree.
RUN understudy embedding fetch || echo "search by words alone, until: docker compose exec SERVICE understudy embedding fetch"
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["understudy"]
CMD ["serve", "--host", "0.0.0.0"]
