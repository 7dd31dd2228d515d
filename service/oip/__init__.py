"""The Open Inference Protocol v2: our graphs to clients of Triton and KServe. Knows no HTTP; `routes.oip` does."""
