# Orderflow: one image for the worker and every other command. Packages are those of the lock, each with its hash.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/orderflow \
    && /opt/orderflow/bin/pip install --no-cache-dir --no-compile --only-binary :all: --require-hashes --no-deps -r requirements.lock
COPY . .
RUN /opt/orderflow/bin/pip install --no-cache-dir --no-build-isolation --no-deps --no-index .

FROM python:3.11.13-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin orderflow \
    && install -d -o orderflow -g orderflow /var/lib/orderflow
COPY --from=build /opt/orderflow /opt/orderflow
ENV PATH=/opt/orderflow/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER orderflow
WORKDIR /var/lib/orderflow
VOLUME /var/lib/orderflow
EXPOSE 8080
ENTRYPOINT ["orderflow"]
CMD ["worker"]
