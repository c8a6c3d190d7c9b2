//! What the processes under test cost: their CPU time, memory and descriptors, and what they publish.
