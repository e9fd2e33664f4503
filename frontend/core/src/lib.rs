//! Decisions of the front end, pure: registry, cache, queue, batch sizing, replica health.
