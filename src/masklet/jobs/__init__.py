"""Corpora on Ray: a manifest of videos in, Parquet or files of any format out, every item whole or absent."""
