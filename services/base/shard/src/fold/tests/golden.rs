//! Records of every kind as this version writes them.
