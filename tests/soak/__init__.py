"""Ten minutes of everything that goes wrong, against real server processes: `make soak`."""
