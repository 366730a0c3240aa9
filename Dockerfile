# The images: `worker` (the default), `lambda` (the function, for container-image functions), `emulator` (the embedded
# AWS with the demo's producer and recount, for trying things out). `make image` builds them; docs/image.md tells more.
#
# BASE_IMAGE is any Debian with Python 3.11 or newer as python3, with venv, and with ca-certificates. Pin it by digest.
ARG BASE_IMAGE=python:3.13-slim

# What builds wheels, and the wheels of everything: locked by hash. amazon-kclpy's own build fetches its jars without
# checksums; they are held against consumer/runtime/jars.json below, by `doctor`.
# Where the network needs another CA bundle: `docker build --secret id=ca,src=FILE`.
FROM ${BASE_IMAGE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/build.txt /build/requirements/
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && python3 -m venv /tools \
    && /tools/bin/pip install --quiet --require-hashes -r /build/requirements/build.txt

FROM tools AS wheels
COPY requirements/worker.txt requirements/lambda-image.txt requirements/emulator.txt /build/requirements/
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca SSL_CERT_FILE=/run/secrets/ca; fi \
    && for name in worker lambda-image emulator; do \
        /tools/bin/pip wheel --quiet --require-hashes --no-build-isolation \
            --wheel-dir /wheels -r "/build/requirements/$name.txt" || exit 1; \
    done
COPY deploy/image/install.py /build/

# One environment each, at the path where it will be. install.py leaves out what nothing here ever reads, and compiles.
FROM wheels AS python-worker
RUN /tools/bin/python /build/install.py --slim /opt/streamgauge /wheels /build/requirements/worker.txt

FROM wheels AS python-lambda
RUN /tools/bin/python /build/install.py --slim /opt/streamgauge /wheels /build/requirements/lambda-image.txt

FROM wheels AS python-emulator
RUN /tools/bin/python /build/install.py /opt/streamgauge /wheels /build/requirements/emulator.txt

# Streamgauge itself: a layer of its own, so that another version of it is a small download.
FROM tools AS streamgauge
COPY deploy/image/install.py /build/
COPY pyproject.toml README.md LICENSE /build/
COPY consumer /build/consumer
RUN /tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /own /build \
    && /tools/bin/python /build/install.py /opt/streamgauge /own

# A Java of the modules that the daemon uses (jdeps says which), and no more.
FROM ${BASE_IMAGE} AS jre
ARG JAVA_VERSION=25
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends "openjdk-${JAVA_VERSION}-jdk-headless" binutils > /dev/null \
    && jlink --output /opt/java --strip-debug --no-header-files --no-man-pages --compress=zip-6 --add-modules \
java.base,java.desktop,java.instrument,java.logging,java.management,java.naming,java.security.jgss,java.sql,java.xml,\
jdk.crypto.ec,jdk.jfr,jdk.management,jdk.unsupported,jdk.zipfs \
    && find /opt/java -exec touch --no-dereference --date=@946684800 {} +

# The base without what its package manager and a person at a console need: no apt, no perl, no program that changes
# whom it runs as. dpkg's list of packages stays, for scanners.
FROM ${BASE_IMAGE} AS trimmed
RUN dpkg --purge --force-all apt bsdutils debian-archive-keyring diffutils e2fsprogs libapt-pkg7.0 libdb5.3t64 login \
        login.defs logsave mount openssl passwd python3-pip-whl python3-setuptools-whl python3-venv python3.13-venv sqv \
        sysvinit-utils util-linux > /dev/null 2>&1 \
    && dpkg --purge --force-all debconf perl-base > /dev/null 2>&1 \
    && rm -rf /etc/apt /var/cache/* /var/log/* /var/lib/apt \
        /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/pip* \
    && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
    && python3 -c 'import bz2, ctypes, lzma, sqlite3, ssl, zlib'

# What all images have in common. uid and gid are numbers, for runAsNonRoot; the home directory is for ~/.aws alone, to be
# mounted, and not writable.
FROM scratch AS base
COPY --from=trimmed / /
ARG VERSION=unknown
ARG REVISION=unknown
RUN echo 'streamgauge:x:10001:10001::/var/lib/streamgauge:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'streamgauge:x:10001:' >> /etc/group \
    && mkdir /var/lib/streamgauge /etc/streamgauge
ENV PATH=/opt/streamgauge/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/var/lib/streamgauge LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
LABEL org.opencontainers.image.title="Streamgauge" \
    org.opencontainers.image.description="Windowed aggregation for Amazon Kinesis" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

# The function: AWS Lambda's own runtime client runs the handler. Put the pipeline file beside it:
# FROM streamgauge-lambda:... and COPY pipeline.yaml /var/task/
FROM base AS lambda
COPY --from=python-lambda /opt/streamgauge /opt/streamgauge
COPY --from=streamgauge /opt/streamgauge /opt/streamgauge
# Python's own modules are compiled in no slim base: what is imported here is, and kept.
RUN PYTHONDONTWRITEBYTECODE= python -c 'import awslambdaric.bootstrap, consumer.entrypoints.lambda_handler'
ENV LAMBDA_TASK_ROOT=/var/task
WORKDIR /var/task
USER 10001:10001
ENTRYPOINT ["/opt/streamgauge/bin/python", "-m", "awslambdaric"]
CMD ["consumer.entrypoints.lambda_handler.handler"]

FROM base AS runtime
COPY --from=jre /opt/java /opt/java
COPY --from=python-worker /opt/streamgauge /opt/streamgauge
COPY --from=streamgauge /opt/streamgauge /opt/streamgauge
ENV JAVA_HOME=/opt/java
# The jars are held against jars.json here, and Java is run once.
RUN PYTHONDONTWRITEBYTECODE= streamgauge doctor \
    && PYTHONDONTWRITEBYTECODE= python -c 'import consumer.entrypoints.worker'
COPY deploy/image/healthcheck.py /opt/streamgauge/lib/healthcheck.py
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["/opt/streamgauge/bin/python", "-ISs", "/opt/streamgauge/lib/healthcheck.py"]
EXPOSE 9102
STOPSIGNAL SIGTERM
USER 10001:10001
ENTRYPOINT ["/opt/streamgauge/bin/streamgauge"]
CMD ["run", "/etc/streamgauge/pipeline.yaml"]

# The worker, and what plays AWS, a producer and an auditor for it.
FROM runtime AS emulator
COPY --from=python-emulator /opt/streamgauge /opt/streamgauge
COPY config/clickstream.yaml /etc/streamgauge/pipeline.yaml
HEALTHCHECK NONE
CMD ["emulator", "--host", "0.0.0.0"]
EXPOSE 4566

# Java's classes as one file that it maps at a start, in half the CPU time. It is made of what a worker has loaded.
FROM runtime AS archive
USER 0:0
COPY --from=python-emulator /opt/streamgauge /opt/streamgauge
COPY deploy/image/archive.py config/clickstream.yaml /build/
RUN python /build/archive.py /archive /build/clickstream.yaml

FROM runtime AS worker
COPY --from=archive /archive /opt/streamgauge/lib/archives
ENV STREAMGAUGE_CLASS_ARCHIVES=/opt/streamgauge/lib/archives
