"""Published checkpoints: read without running code, laid out as our networks need them."""
