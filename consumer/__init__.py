"""Streamgauge: windowed aggregation for Amazon Kinesis."""

__version__ = "0.1.0"
