"""Evaluation: scores, samples of public benchmarks, protocols with a simulated user, and reports."""
