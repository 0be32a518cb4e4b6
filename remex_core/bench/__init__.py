"""What remex costs, measured beside the least that could do the same work."""
