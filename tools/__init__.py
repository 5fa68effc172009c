"""This package is what people and CI run beside the ledger: checks, benchmarks, faults, samples."""
