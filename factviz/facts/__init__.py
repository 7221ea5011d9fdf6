"""Facts: prompts with subject, answer and attribute sets. Torch-free."""
