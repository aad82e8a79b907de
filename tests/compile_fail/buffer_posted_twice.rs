//! One buffer cannot be in flight twice.
use handfast::fabric::{Port, Refused, WorkRequest};
use handfast::memory::Buffer;

fn post<P: Port>(port: &mut P, from: &P::Remote, buffer: Buffer) -> Result<(), Refused> {
    port.post_read(WorkRequest::signalled(1), buffer, from, 0)?;
    port.post_receive(WorkRequest::signalled(2), buffer)
}

fn main() {}
