//! What load generators saw, event by event, and whether the promises held.
