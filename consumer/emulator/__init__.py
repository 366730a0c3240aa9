"""The embedded AWS: what the demo and the tests run on, and users test their pipelines with.

`server` puts it together. A request passes `transport` (with `http1` or `http2`), `application` (faults, journal)
and one of the services: `kinesis_api` before `kinesis`, `firehose_api` before `firehose`, `moto_service` before
moto; `admin` is the emulator's own interface.
"""
