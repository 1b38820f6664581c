//! Stream: the agent's stdout, forwarded, understood, and shown.
