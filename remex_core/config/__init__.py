"""Configuration: what a remex.yaml may say, and how it is read; the only place that knows YAML."""
