"""What the worker tells: metrics, log lines, health, progress for a person."""
