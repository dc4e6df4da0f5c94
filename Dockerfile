# PyProxy without PostgreSQL: the proxy for compose files, clusters and CI services.
#
#   docker build -t pyproxy .
#   docker run --rm -p 127.0.0.1:6432:6432 -p 127.0.0.1:8432:8432 \
#     -e PYPROXY_TARGET_HOST=db.internal \
#     -e PYPROXY_SECRET_DATABASE='{"username": "app", "password": "..."}' pyproxy
#
# The settings are those of config/container.yaml; for everything else mount a folder with a
# pyproxy.yaml of your own over /etc/pyproxy.

# The full image has the C compiler that the compiled build needs; nothing of it is shipped.
FROM python:3.13 AS build
WORKDIR /build
# What changes least comes first: the layers of dependencies outlive those of the source.
COPY requirements/build.lock requirements/image.lock requirements/
RUN python -m venv /opt/pyproxy \
    && /opt/pyproxy/bin/pip install --no-cache-dir --require-hashes -r requirements/image.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY protocol protocol
COPY pyproxy pyproxy
RUN PYPROXY_COMPILE=1 /opt/build/bin/pip wheel \
        --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/pyproxy/bin/pip install --no-cache-dir --no-deps dist/*.whl \
    && /opt/pyproxy/bin/pip uninstall --yes pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="PyProxy" \
      org.opencontainers.image.description="An Amazon RDS Proxy in pure Python" \
      org.opencontainers.image.licenses="Apache-2.0"
# The base has no compiled standard library, and the proxy's user may not write one: each start and
# each health check would compile what it imports again. Left out is what no proxy imports.
RUN python -m compileall -q -x '/(ensurepip|idlelib|site-packages|tkinter|turtledemo)/' \
    /usr/local/lib/python3.*
# The folder keeps the development CA. Group 0, for OpenShift gives an image a uid of its own and that group.
RUN install -d -o 10001 -g 0 -m 0770 /var/lib/pyproxy
COPY --from=build /opt/pyproxy /opt/pyproxy
COPY config/container.yaml /etc/pyproxy/pyproxy.yaml
ENV PATH=/opt/pyproxy/bin:$PATH \
    HOME=/var/lib/pyproxy \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes' runAsNonRoot can see it. Its own group: group 0 may read more than it needs.
USER 10001:10001
VOLUME /var/lib/pyproxy
EXPOSE 6432 8432
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["pyproxy", "healthcheck", "--config", "/etc/pyproxy/pyproxy.yaml"]
ENTRYPOINT ["pyproxy"]
CMD ["run", "--config", "/etc/pyproxy/pyproxy.yaml"]
