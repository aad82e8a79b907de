//! A control thread that left publishes no stage.
use handfast::manager::ControlThread;

fn end(thread: ControlThread) {
    thread.leave();
    thread.stage("recovering", 1, 2);
}

fn main() {}
