"""What several gateways must know in common: in memory for one of them, in Redis for more."""
