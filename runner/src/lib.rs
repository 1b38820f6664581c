//! agent-runner: PID 1 for one task of one coding agent.
