//! What a run came to: its figures, their thresholds, their comparison, and the pages that show them.
