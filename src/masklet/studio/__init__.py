"""The studio: a web page for segmenting videos, and its server. docs/api.md describes the API."""
