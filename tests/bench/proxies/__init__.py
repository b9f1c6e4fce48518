"""What `make bench-gateway` measures: proxies, the engines behind them, the load before them."""
