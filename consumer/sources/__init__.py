"""Where records come from, and what is known of streams and leases."""
