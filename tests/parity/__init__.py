"""masklet against the two published implementations, with equal weights. They come with the `dev` extra."""
