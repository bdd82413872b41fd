"""What hsdc costs, measured side by side: `python -m benchmarks`. README.md says how to read it."""
