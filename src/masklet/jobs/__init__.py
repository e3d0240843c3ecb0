"""Processes corpora with Ray: reads a manifest of videos, writes Parquet or other formats; every item is
complete or absent."""
