//! A group against a server that loses or repeats messages.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::dialect::{CONTENT, Silent};
use crate::wire::Framing;

/// Sends contents as frames without any protocol around them.
#[derive(Debug)]
struct Plain;

impl Dialect for Plain {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, _: &mut Reply) -> Outcome<&'a [u8]> {
        Ok(unit.body)
    }

    fn say(&mut self, content: &[u8], reply: &mut Reply) -> Outcome<()> {
        reply.frame(content);
        Ok(())
    }
}

/// A server of one sender and one listener that delivers each message as often as `times` says.
fn serve(listener: &TcpListener, times: fn(u64) -> usize) -> std::io::Result<()> {
    const HEAD: usize = 8;
    let (mut ear, _) = listener.accept()?;
    let (mut mouth, _) = listener.accept()?;
    let mut frame = [0; HEAD + CONTENT];
    for number in 1.. {
        if mouth.read_exact(&mut frame).is_err() {
            // The test has ended.
            break;
        }
        let delivered = [&[0x81, 126, 0, CONTENT as u8], &frame[HEAD..]].concat();
        for _ in 0..times(number) {
            ear.write_all(&delivered)?;
        }
    }
    Ok(())
}

fn run(times: fn(u64) -> usize) -> Outcome<Round> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::scope(|scope| {
        scope.spawn(move || serve(&listener, times));
        let mut swarm = Swarm::new()?;
        for _ in 0..2 {
            swarm.add(TcpStream::connect(address)?, Vec::new(), Framing::WebSocket)?;
        }
        let listeners = vec![Listener::Numbered(Box::new(Silent))];
        let mut group = Group::with_voice(swarm, listeners, 1, Box::new(Plain))?;
        group.run(std::process::id(), 4, Duration::from_millis(20))
    })
}

#[test]
fn a_round_succeeds_if_every_numbered_message_arrives_once() {
    let round = run(|_| 1).expect("nothing is wrong");
    assert!(round.messages > 0);
}

#[test]
fn a_lost_or_repeated_message_ends_the_run() {
    let lost = run(|number| usize::from(number != 5)).expect_err("the fifth never came");
    assert!(lost.to_string().contains("message 6 came after 4"), "{lost}");
    let again = run(|number| if number == 5 { 2 } else { 1 }).expect_err("the fifth came twice");
    assert!(again.to_string().contains("message 5 came after 5"), "{again}");
}
