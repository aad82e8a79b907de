//! A buffer in flight belongs to its port: whoever posted it cannot touch it before its completion gives it back.
use handfast::fabric::{Port, Refused, WorkRequest};
use handfast::memory::Buffer;

fn post<P: Port>(port: &mut P, to: &P::Remote, mut buffer: Buffer) -> Result<(), Refused> {
    port.post_write(WorkRequest::signalled(1), buffer, to, 0)?;
    buffer.as_mut_slice().fill(0);
    Ok(())
}

fn main() {}
