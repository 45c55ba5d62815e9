"""Everything that is measured on a GPU, part by part, with verdicts."""
