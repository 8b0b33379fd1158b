# syntax=docker/dockerfile:1
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY scflows scflows
COPY tasks tasks
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM ${BASE}
LABEL org.opencontainers.image.title="scflows" \
      org.opencontainers.image.description="Flows in YAML, put on a crontab so that the load stays level" \
      org.opencontainers.image.licenses="MIT"
# The version is that of the wheel built above.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels scflows \
    && useradd --uid 10001 --create-home --home-dir /state scflows \
    && mkdir /state/workspace \
    && chown 10001:10001 /state/workspace
USER 10001
# One volume holds all that must outlive the container: workspace, tabfile, logs, history.
ENV HOME=/state \
    XDG_STATE_HOME=/state/state \
    XDG_CACHE_HOME=/state/cache \
    PYTHONUNBUFFERED=1
VOLUME /state
WORKDIR /state/workspace
ENTRYPOINT ["flows"]
# There is no cron daemon in here: the embedded scheduler runs the tabfile in the foreground.
CMD ["cron", "run"]
HEALTHCHECK --interval=60s --timeout=10s --start-period=90s CMD ["flows", "cron", "status"]
