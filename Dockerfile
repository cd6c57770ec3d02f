# All images of muniflow, from one file. Build context: the root of the repository.
#
# docker-bake.hcl names every image: `make images` builds them all. By hand, one of them:
#
#   docker build --target step --build-arg SERVICES=resize -t muniflow-resize:0.1.0 .
#
# A change in one service rebuilds one image: each stage that sees all services hands on only what its image needs, and
# what comes out unchanged is taken from the cache. Layers by how often they change: base, packages, library, service.
# Plain Dockerfile syntax on purpose: no BuildKit extension is needed.

# Pin it by digest in production: python:3.11-slim-bookworm@sha256:…
ARG BASE=docker.io/library/python:3.11-slim-bookworm


FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
# Ends every folder that goes into an image: byte code that does not depend on times, and one time for every file. The same
# sources give the same bytes, wherever and whenever they are built.
RUN printf '%s\n' '#!/bin/sh' 'set -eu' \
        'python3 -m compileall -q --invalidation-mode unchecked-hash "$1"' \
        'find "$1" -exec touch --no-dereference --date=@0 {} +' > /usr/local/bin/finish \
    && chmod 755 /usr/local/bin/finish
WORKDIR /src
COPY requirements/build.txt requirements/build.txt
RUN python3 -m pip install --quiet --require-hashes --target /opt/build -r requirements/build.txt
ENV PYTHONPATH=/opt/build


# The library, by itself.
FROM build AS library
COPY libs/common libs/common
RUN python3 -m pip install --quiet --no-deps --no-build-isolation --no-compile --target /opt/library ./libs/common \
    && finish /opt/library


# Of all services, the ones that this image carries.
FROM build AS picked
ARG SERVICES
COPY services services
RUN mkdir picked && for service in ${SERVICES:?name them: --build-arg SERVICES=resize}; do cp -r "services/$service" picked/; done

FROM build AS service
COPY --from=picked /src/picked picked
RUN python3 -m pip install --quiet --no-deps --no-build-isolation --no-compile --target /opt/service ./picked/* \
    && finish /opt/service


# Of all step services, only what coordinator and gateway read a batch with: name, parameters, entry points. No OpenCV, and
# no edit of this file for a new operation; a change of a pixel function leaves the result as it was.
FROM build AS picked-contracts
COPY services services
RUN mkdir contracts && for parameters in services/*/muniflow_*/params.py; do \
        package=$(dirname "$parameters") && project=$(dirname "$package") && copy="contracts/$(basename "$project")" \
        && mkdir -p "$copy/$(basename "$package")" \
        && cp "$project/pyproject.toml" "$copy/" && touch "$copy/README.md" \
        && cp "$package/__init__.py" "$package/params.py" "$copy/$(basename "$package")/" || exit 1; \
    done

FROM build AS contracts
COPY --from=picked-contracts /src/contracts contracts
RUN python3 -m pip install --quiet --no-deps --no-build-isolation --no-compile --target /opt/contracts ./contracts/* \
    && finish /opt/contracts


# The command line, by itself.
FROM build AS cli
# The version of the library is that of the command line.
COPY libs/common/muniflow/__init__.py libs/common/muniflow/
COPY libs/cli libs/cli
RUN python3 -m pip install --quiet --no-deps --no-build-isolation --no-compile --target /opt/cli ./libs/cli \
    && finish /opt/cli


# Packages from elsewhere, exact and hashed.
FROM build AS packages-step
COPY requirements/pixels.txt requirements/
RUN python3 -m pip install --quiet --require-hashes --no-compile --target /opt/packages -r requirements/pixels.txt \
    && finish /opt/packages

FROM build AS packages-run
COPY requirements/run.txt requirements/
RUN python3 -m pip install --quiet --require-hashes --no-compile --target /opt/packages -r requirements/run.txt \
    && finish /opt/packages

# Picked in a stage of its own: tools that read this file (Skaffold) expand COPY for step images, too, which have no such file.
FROM build AS picked-requirements
ARG SERVICES=coordinator
COPY requirements requirements
RUN mkdir picked && cp "requirements/${SERVICES}.txt" picked/packages.txt

FROM build AS packages-control
COPY --from=picked-requirements /src/picked picked
# kubernetes/aio is the client once more, for asyncio: 40 MB that nothing here imports.
RUN python3 -m pip install --quiet --require-hashes --no-compile --target /opt/packages -r picked/packages.txt \
    && rm -rf /opt/packages/kubernetes/aio \
    && finish /opt/packages


# What runs: no compiler, no build tools, a user without a name.
FROM ${BASE} AS runtime
# Group 0 may write where a volume is mounted, so any user id works (OpenShift chooses one); a new named volume takes
# these rights over. The entry point becomes Python: signals reach it directly. MUNIFLOW_DEV_CODE, for `skaffold dev`:
# run from a copy of the code in a folder that can be written, so that synced files count after a restart.
RUN mkdir -p /data /var/lib/muniflow && chown 10001:0 /data /var/lib/muniflow && chmod 2770 /data /var/lib/muniflow \
    && printf '%s\n' '#!/bin/sh' \
        'if [ -n "$MUNIFLOW_DEV_CODE" ]; then' \
        '    mkdir -p "$MUNIFLOW_DEV_CODE"' \
        '    cp -Rn /opt/service/. /opt/library/. "$MUNIFLOW_DEV_CODE"' \
        '    find "$MUNIFLOW_DEV_CODE" -name __pycache__ -prune -exec rm -rf {} +' \
        '    PYTHONPATH=$MUNIFLOW_DEV_CODE:$PYTHONPATH' \
        'fi' \
        'exec python3 -m "$MUNIFLOW_MODULE" "$@"' > /usr/local/bin/muniflow-service \
    && chmod 755 /usr/local/bin/muniflow-service
ENV PYTHONPATH=/opt/service:/opt/contracts:/opt/library:/opt/packages \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    MUNIFLOW_HTTP_BIND=0.0.0.0:9100 MUNIFLOW_LOG_FORMAT=json
WORKDIR /tmp
EXPOSE 9100
STOPSIGNAL SIGTERM
ENTRYPOINT ["muniflow-service"]
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/livez', timeout=4)"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=
ARG BASE
LABEL org.opencontainers.image.title="muniflow" \
      org.opencontainers.image.description="A pipeline for municipal imagery" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE}"


FROM runtime AS control
ARG SERVICES=coordinator
COPY --from=packages-control /opt/packages /opt/packages
COPY --from=library /opt/library /opt/library
COPY --from=contracts /opt/contracts /opt/contracts
COPY --from=service /opt/service /opt/service
ENV MUNIFLOW_MODULE=muniflow_${SERVICES}
USER 10001:0


# The OpenCL loader and the hook by which it finds the driver that the GPU runtime mounts; no CUDA.
FROM runtime AS runtime-gpu
# hadolint ignore=DL3008 - the loader's interface is a standard; the base image's release pins it
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ocl-icd-libopencl1 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && mkdir -p /etc/OpenCL/vendors && echo libnvidia-opencl.so.1 > /etc/OpenCL/vendors/nvidia.icd
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility MUNIFLOW_DEVICE=opencl

FROM runtime-gpu AS gpu
COPY --from=packages-step /opt/packages /opt/packages
COPY --from=library /opt/library /opt/library
COPY --from=service /opt/service /opt/service
# Serves the operations that are installed; MUNIFLOW_OPERATIONS chooses among them.
ENV MUNIFLOW_MODULE=muniflow.worker.main
USER 10001:0


FROM runtime AS step
COPY --from=packages-step /opt/packages /opt/packages
COPY --from=library /opt/library /opt/library
COPY --from=service /opt/service /opt/service
ENV MUNIFLOW_MODULE=muniflow.worker.main
USER 10001:0


# `muniflow run` as a task that ends (docs/guides/serverless.md): the command line, all operations, no service.
FROM runtime AS run
COPY --from=packages-run /opt/packages /opt/packages
COPY --from=library /opt/library /opt/library
COPY --from=cli /opt/cli /opt/cli
COPY --from=service /opt/service /opt/service
ENV PYTHONPATH=/opt/cli:/opt/service:/opt/library:/opt/packages MUNIFLOW_MODULE=muniflow_cli.main
HEALTHCHECK NONE
USER 10001:0
