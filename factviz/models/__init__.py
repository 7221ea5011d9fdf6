"""Loading models and running them once."""
