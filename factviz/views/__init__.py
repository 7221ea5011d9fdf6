"""Result to spec to picture. Torch-free."""
