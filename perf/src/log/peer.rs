//! The partner's process: holds the copies. It sleeps while the log is measured, but for its heartbeat: nothing else is asked of it, and the second
//! producer has its processor.

use crate::bare::Arena;
use crate::control::{Control, Task};
use crate::lines::return_lines;
use crate::log::node::Node;
use crate::log::today;
use crate::machine;
use crate::nodes::Side;
use std::error::Error;
use std::time::Duration;

/// Hidden first argument of this program.
pub(crate) const PEER: &str = "log-peer";

/// Between two beats, which are looks whether it is to wake too: what a control thread does in an idle session.
const SLEEP: Duration = Duration::from_millis(1);

/// Runs until it is told to quit, or its parent is gone: the kernel ends it then.
pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [run, descriptor, processor, port] = arguments else {
        return Err("arguments: RUN DESCRIPTOR PROCESSOR PORT".into());
    };
    let run: u32 = run.parse()?;
    machine::end_with_parent(run)?;
    machine::pin(processor.parse()?)?;
    let arena = Arena::open(run, descriptor.parse()?)?;
    let control = Control::new(&arena)?;
    let mut stream = today::connect(port.parse()?)?;
    let mut node = Node::open(Side::B, run)?;
    let mut last = 0;
    loop {
        let Some(command) = control.next(last) else {
            node.check()?;
            continue;
        };
        last = command.number();
        control.begun(&command);
        match command.task {
            Task::Lines => return_lines(&arena, &command)?,
            Task::Rest => {
                while !control.is_stopped(&command) {
                    std::thread::sleep(SLEEP);
                    node.beat();
                }
            }
            Task::Records => today::acknowledge(&mut stream, &command)?,
            Task::Quit => {
                node.close();
                control.done(&command);
                return Ok(());
            }
            other => return Err(format!("{other:?} is nothing for this peer").into()),
        }
        control.done(&command);
    }
}
