//! What a fabric brings to take part in the suite.

use handfast::fabric::{Address, Fabric};

/// One of the two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Two nodes of one fabric that reach each other, alone in their world.
pub(crate) trait Harness: Sized {
    type Fabric: Fabric;
    /// A fresh pair: addresses of one are never those of another.
    fn new() -> Self;
    /// A node; the same one at each call.
    fn node(&self, side: Side) -> Self::Fabric;
    /// An address of that node where it can listen.
    fn address(&self, side: Side, port: u16) -> Address;
    /// An address of another fabric.
    #[allow(dead_code, reason = "some of those who share this file have one fabric alone")]
    fn foreign_address(&self) -> Address;
    /// Lets a little time pass (at most some microseconds of the fabric's clock).
    fn pump(&mut self);
}
