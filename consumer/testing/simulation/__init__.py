"""Deterministic simulation: several workers of the real code in a world of faults, one seed a run.

Real are the runners of the shards, the owners of their states, the core and the delivery. The Kinesis Client Library,
the stream, the state store, the sinks and all clocks are of the simulation; time passes as fast as it can be computed.
`python -m consumer.testing.simulation --help` runs it. It needs `greenlet`.
"""
