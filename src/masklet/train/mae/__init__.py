"""Pre-training of Hiera, the trunk, by masked auto-encoding: pictures are enough, nobody need label them."""
