"""What an embedded model shows, measured and written into its card."""
