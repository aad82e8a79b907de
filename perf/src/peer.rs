//! The peer: a process of its own, on a processor of its own, that does what it is told.

use crate::bare::{Arena, store_line};
use crate::completions::held;
use crate::control::{Command, Control, Task, lines};
use crate::lines::{dirty_on_request, return_blocks, return_lines};
use crate::machine;
use crate::nodes::{Node, Side, config, listening, places};
use crate::steps::{Acceptor, Keyed, acknowledge_bare};
use crate::transfers::{return_block_writes, return_messages, return_writes};
use handfast::fabric::shm::Shm;
use handfast::manager::ClusterManager;
use std::error::Error;
use std::sync::atomic::Ordering;

/// Hidden first argument of this program.
pub(crate) const PEER: &str = "peer";

/// Runs until it is told to quit, or its parent is gone: the kernel ends it then.
pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [run, descriptor, processor] = arguments else { return Err("arguments: RUN DESCRIPTOR PROCESSOR".into()) };
    let run: u32 = run.parse()?;
    machine::end_with_parent(run)?;
    machine::pin(processor.parse()?)?;
    let arena = Arena::open(run, descriptor.parse()?)?;
    let control = Control::new(&arena)?;
    // The endpoints first: once the session stands the other side dials them.
    let (plain, keyed) = (Acceptor::listen(run, Keyed::No)?, Acceptor::listen(run, Keyed::Yes)?);
    let mut peer = Peer { run, node: Node::open(Side::B, run)?, plain, keyed, started: None };
    let mut last = 0;
    loop {
        let Some(command) = control.next(last) else {
            peer.idle()?;
            continue;
        };
        last = command.number();
        if command.task == Task::Quit {
            peer.node.close();
            control.begun(&command);
            control.done(&command);
            return Ok(());
        }
        peer.serve(&arena, &control, &command)?;
        control.done(&command);
    }
}

struct Peer {
    run: u32,
    node: Node,
    plain: Acceptor,
    keyed: Acceptor,
    started: Option<ClusterManager<Shm>>,
}

impl Peer {
    /// What is due between two commands.
    fn idle(&mut self) -> Result<(), Box<dyn Error>> {
        self.node.tend()?;
        self.plain.accept()?;
        self.keyed.accept()?;
        if let Some(manager) = &mut self.started {
            while manager.poll().is_some() {}
        }
        Ok(())
    }

    fn serve(&mut self, arena: &Arena, control: &Control<'_>, command: &Command) -> Result<(), Box<dyn Error>> {
        if command.task == Task::Serve && self.started.is_none() {
            let config = config(Side::B, self.run, listening::STARTED)?;
            let mut manager = ClusterManager::boot(Shm::new(), config)?;
            manager.open();
            self.started = Some(manager);
        }
        control.begun(command);
        let node = &mut self.node;
        match command.task {
            Task::Lines => return_lines(arena, command)?,
            Task::Blocks => return_blocks(arena, command)?,
            Task::BareSteps => acknowledge_bare(arena, control, command)?,
            Task::BareDirty => {
                let line = arena.line(lines::DATA)?;
                dirty_on_request(arena, command, |word| {
                    store_line(line, &[word; 8]);
                    Ok(())
                })?;
            }
            Task::Writes => return_writes(node, command)?,
            Task::BlockWrites => {
                let block = held(node.block.take())?;
                node.block = Some(return_block_writes(node, block, command)?);
            }
            Task::Dirty => dirty_on_request(arena, command, |word| dirty_memory(node, word))?,
            Task::Messages => {
                let message = held(node.message.take())?;
                node.message = Some(return_messages(node, message, command)?);
            }
            Task::Steps => self.plain.serve(control, command)?,
            Task::KeyedSteps => self.keyed.serve(control, command)?,
            Task::Serve => {
                while !control.is_stopped(command) {
                    if let Some(manager) = &mut self.started {
                        let _ = manager.poll();
                    }
                }
            }
            // Those of the log's peer.
            Task::Rest | Task::Records | Task::Quit => {}
        }
        Ok(())
    }
}

fn dirty_memory(node: &Node, word: u64) -> Result<(), Box<dyn Error>> {
    for offset in (places::LINE..places::LINE + 64).step_by(8) {
        node.memory.store(offset, word, Ordering::Release)?;
    }
    Ok(())
}
