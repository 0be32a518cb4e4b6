"""The worker: fetch inputs, materialise, run, collect outputs, upload, report."""
