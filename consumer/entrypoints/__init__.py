"""What the commands do: build from the pipeline file, hand over."""
