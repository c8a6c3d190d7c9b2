//! A TLS relay that hands lines between pairs: what TLS, system calls and the runtime cost alone.
