"""What tests share, ours and users'."""
