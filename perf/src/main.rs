//! Latency profiler of handfast.
fn main() {}
