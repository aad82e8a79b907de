//! A simulated fabric for tests: seeded faults, virtual time.
