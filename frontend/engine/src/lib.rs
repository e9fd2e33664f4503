//! The data plane: drives the core and the container sessions.
