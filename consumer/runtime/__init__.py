"""The shell around the core: commits, shards, the Java daemon."""
