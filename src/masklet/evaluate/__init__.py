"""Measuring: scores, the layouts of public benchmarks, protocols with a simulated user, and reports."""
