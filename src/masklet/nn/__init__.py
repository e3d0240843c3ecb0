"""The network's modules. They keep no state between calls, and know no files, objects or time."""
