"""Speed, strength and memory beside the peers: `python -m bench.run -o bench/results`."""
