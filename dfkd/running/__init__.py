"""Carrying things out: a run and its folder, records, repetition, benchmarks, the training of a teacher."""
