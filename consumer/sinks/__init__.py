"""Where rows go: the contract and its sinks."""
