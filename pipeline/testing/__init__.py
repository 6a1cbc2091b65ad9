"""What tests and simulations are written with."""
