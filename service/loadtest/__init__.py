"""A load generator for this service, or any that takes an image as a body: what it holds, and where it gives way.

Knows nothing of models: it sends bytes, and times the answers.
"""
