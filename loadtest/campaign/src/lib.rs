//! Faults on a schedule while load runs, and the verdict over the history.
