"""The wire contract: what a query may say, and what an answer looks like."""
