"""Images, videos and live streams in."""
