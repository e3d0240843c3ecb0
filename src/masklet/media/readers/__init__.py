"""Pictures, videos and live streams in."""
