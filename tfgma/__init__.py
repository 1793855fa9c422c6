"""Movement assessment networks: train, evaluate, export, predict."""
