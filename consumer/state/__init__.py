"""Where a shard's state lives: the contract and its stores."""
